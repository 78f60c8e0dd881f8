"""The functions of whoever drives the session, as its code calls them.

Is: what a call may be given, which becomes JSON, and what it gives or raises. Is not: a function: those run where the
driver is, and which may be called the host decides. Above: `in_kernel/namespace/offered.py`. Below: `calls.py`,
`state.py`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from rlm_kernel_mcp.both_sides.sendable import sendable
from rlm_kernel_mcp.in_kernel.asking import state
from rlm_kernel_mcp.in_kernel.asking.calls import Call
from rlm_kernel_mcp.in_kernel.asking.errors import HostCallError, SubcallError
from rlm_kernel_mcp.in_kernel.asking.items import Item
from rlm_kernel_mcp.in_kernel.explore.spans import Span
from rlm_kernel_mcp.questions_wire import ITEM_CHARS_MAX, Opts


def host_call(name: str, /, **args: Any) -> Any:
    """Call a function of whoever drives this session; returns what it gives.

    Arguments and result are JSON (text, numbers, true, false, null, lists, objects; at most 400,000 characters there
    and 200,000 back). Raises HostCallError with the function's own words where it fails, NameError where there is no
    such function, TypeError where an argument is no JSON, SubcallError (.code, .message) where nobody answers. Each
    call is made, equal ones too: a function may have effects. From threads several are made at once.
    """
    (got,) = _call(name).answers([_item(name, args)])
    return _value(got)


async def host_call_async(name: str, /, **args: Any) -> Any:
    """host_call for `await` and asyncio.gather."""
    return _value(await _call(name).answer(_item(name, args)))


def open_channel(content: Mapping[str, Any], passed: Callable[[], int]) -> Mapping[str, Any]:
    """As `state.open_channel`, and have `help` say which functions there are."""
    reply = state.open_channel(content, passed)
    rows = "".join(f"\n\n{name}: {line}" for name, line in state.functions().items())
    for function, words in _WORDS.items():
        function.__doc__ = f"{words}\n\nThe functions:{rows}" if rows else words
    return reply


def _call(name: str) -> Call:
    if not isinstance(name, str):
        raise TypeError(f"the name of a function must be a str, not {type(name).__name__}")
    return Call(state.channel_to(name), _OPTS, schema=None)


def _item(name: str, args: Mapping[str, Any]) -> Item:
    try:
        text = sendable(_written(args))
    except (TypeError, ValueError, RecursionError):  # it is found out of which argument that is
        text = "{" + ",".join(f"{json.dumps(key)}:{_json(name, key, value)}" for key, value in args.items()) + "}"
    if len(name) + len(text) > ITEM_CHARS_MAX:
        most = f"and may have {ITEM_CHARS_MAX:,}"
        raise SubcallError("too_large", f"The call of {name} has {len(text):,} characters of JSON, {most}.")
    return Item(name, text)


def _json(name: str, key: str, value: Any) -> str:
    try:
        return sendable(_written(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{name}: the argument {key} is no JSON: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Span):
        return value.text
    raise TypeError(f"a {type(value).__name__} is none")


_OPTS: Final[Opts] = {"batch": 0, "kind": "function"}
_written: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode
"""Made once: `json.dumps` makes one for each call."""
_read: Final = json.JSONDecoder().decode


def _value(got: Any) -> Any:
    if isinstance(got, SubcallError):
        raise HostCallError(got.message) if got.code == DECLINED else got
    return _read(got)


DECLINED: Final = "declined"
"""The code with which the host says that a function failed."""
_WORDS: Final = {one: inspect.getdoc(one) for one in (host_call, host_call_async)}
FUNCTIONS: Final[Mapping[str, tuple[Callable[..., object], str]]] = {
    "host_call": (host_call, "host_call('function', name=value) -> what it gives; help(host_call) lists the functions"),
    "host_call_async": (host_call_async, "the same for await and asyncio.gather"),
    "HostCallError": (HostCallError, "a function failed: str() is its own words"),
}
"""The names, with their lines."""
