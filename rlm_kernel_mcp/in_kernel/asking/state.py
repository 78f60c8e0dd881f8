"""How this kernel asks: its channel, once the host has brought one, and why there is none.

Is: what the host's request sets, in the control thread, and every thread reads. Is not: the asking (`calls.py`).
Above: `calls.py`, `asking.py`, `in_kernel/namespace/offered.py`, `in_kernel/ipython/app.py`, `in_kernel/launch.py`.
Below: `channel.py`, `errors.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlm_kernel_mcp.in_kernel.asking.channel import Channel
from rlm_kernel_mcp.in_kernel.asking.errors import OFF, OFF_TO_A_PERSON, SubcallError


class _State:
    """How this kernel asks; set by the host's request, in the control thread."""

    channel: Channel | None = None
    off = OFF
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
    if "off" in content:
        _State.channel, _State.off = None, str(content["off"])
    else:
        _State.channel = Channel(passed(), step)
    return {}


def is_open() -> bool:
    """Whether somebody answers."""
    return _State.channel is not None


def step() -> str:
    """The `msg_id` of the request for which the calling thread or task works."""
    return str(_State.step_of().get("msg_id", ""))


def channel() -> Channel:
    """Raises: SubcallError, where nobody answers."""
    if _State.channel is None:
        raise SubcallError("off", _State.off)
    return _State.channel
