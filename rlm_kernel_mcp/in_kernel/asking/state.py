"""How this kernel asks: its channel, once the host has brought one, and why there is none.

Is: what the host's request sets, in the control thread, and every thread reads. Is not: the asking (`calls.py`).
Above: `calls.py`, `asking.py`, `functions.py`, `in_kernel/courtesies/hints.py`, `in_kernel/ipython/app.py`,
`in_kernel/launch.py`, `in_kernel/notebook/replay.py`. Below: `channel.py`, `errors.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from rlm_kernel_mcp.in_kernel.asking.channel import Asks, Channel
from rlm_kernel_mcp.in_kernel.asking.errors import NO_FUNCTIONS, OFF, OFF_TO_A_PERSON, SubcallError


class _State:
    """How this kernel asks; set by the host's request, in the control thread."""

    channel: Asks | None = None
    off = OFF
    functions: Mapping[str, str] = MappingProxyType({})
    """By name the descriptions of those that may be called."""
    calls_alone = False
    """Whether the channel is for these."""
    step_of: Callable[[], Mapping[str, Any]] = dict
    """The parent header of the request for which the calling thread works."""


def use_steps(step_of: Callable[[], Mapping[str, Any]]) -> None:
    """Once, when the kernel is made."""
    _State.step_of = staticmethod(step_of)


def speak_to_a_person() -> None:
    """Another Jupyter client started this kernel: nobody will bring a channel, and its reader is no agent's user."""
    _State.off = OFF_TO_A_PERSON


def open_channel(content: Mapping[str, Any], passed: Callable[[], int]) -> Mapping[str, Any]:
    """Answer the host's request that brings the channel, or the reason why there is none. In the control thread."""
    if isinstance(before := _State.channel, Channel):
        before.leave()
    if "off" in content:
        _State.channel, _State.off = None, str(content["off"])
    else:
        _State.channel = Channel(passed(), step)
        _State.functions, _State.calls_alone = content.get("functions", {}), content.get("calls_alone", False)
    return {}


def use_recorded(answers: Asks, functions: Mapping[str, str]) -> None:
    """A notebook runs again: its code is answered as it was. `functions`: as the host's request has them."""
    _State.channel, _State.functions, _State.calls_alone = answers, functions, False


def send_text(content: Mapping[str, Any], passed: Callable[[], int]) -> Mapping[str, Any]:
    """Answer the host's request for the long text of a question. In the control thread. Raises: ValueError."""
    descriptor, found = passed(), _State.channel
    if not isinstance(found, Channel):
        os.close(descriptor)
        raise ValueError("there is no channel")
    found.send_text(content["id"], descriptor)
    return {}


def is_open() -> bool:
    """Whether somebody answers questions to a model."""
    return _State.channel is not None and not _State.calls_alone


def step() -> str:
    """The `msg_id` of the request for which the calling thread or task works."""
    return str(_State.step_of().get("msg_id", ""))


def channel() -> Asks:
    """For questions to a model. Raises: SubcallError, where nobody answers."""
    if _State.channel is None or _State.calls_alone:
        raise SubcallError("off", _State.off)
    return _State.channel


def functions() -> Mapping[str, str]:
    """By name the descriptions of the functions that may be called."""
    return _State.functions


def channel_to(function: str) -> Asks:
    """For calls of a function. Raises: NameError, where it is not offered."""
    offered = _State.functions
    if _State.channel is None or not offered:
        raise NameError(NO_FUNCTIONS)
    if function not in offered:
        raise NameError(f"There is no function {function!r} to call; there are: {', '.join(offered)}.")
    return _State.channel
