"""The message about a coroutine that was not awaited: in the step that made it, not at some later line.

Is: one sentence below a result, or for a name that a step bound. Is not: Python's own warning of a coroutine that is
dropped, which comes where it is true and is left as it is. A courtesy. Above: `in_kernel/channels/display.py`,
`in_kernel/ipython/kernel.py`, `in_kernel/ipython/app.py`. Below: `in_kernel/namespace/bound_names.py`,
`in_kernel/display_text/inspection.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text.inspection import exact
from rlm_kernel_mcp.in_kernel.namespace.bound_names import is_shell_name

LOOKED_AT: Final = 1_000
"""Items of a container as a result that are examined."""
_ANY_ARGUMENTS: Final = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS

_warnings: Any = warnings
_warn_unawaited: Final[Callable[[Any], None]] = _warnings._warn_unawaited_coroutine


class _Told(str):
    """The name given to a coroutine that was reported as not run. The coroutine keeps it as long as it lives."""

    __slots__ = ()


def install_unawaited() -> None:
    """Keep Python from warning of a dropped coroutine that its step was told of."""
    _warnings._warn_unawaited_coroutine = _warn_unless_told


def of_result(value: object) -> str:
    """The note below a result that is still to be awaited; empty for any other."""
    kind = type(value)
    if kind is types.CoroutineType:
        return f"[{_name(value)}() has not run: `await {_call(value)}` runs it]\n" if _tell(value) else ""
    if kind is types.AsyncGeneratorType:
        return f"[`[item async for item in {_call(value)}]` gives its items]\n"
    if kind in (list, tuple, set):
        held: Any = value
        told = [_tell(item) for item in list(held)[:LOOKED_AT] if type(item) is types.CoroutineType]
        return "[these coroutines have not run: `await asyncio.gather(*_)` runs them]\n" if any(told) else ""
    if issubclass(kind, asyncio.Future) and not asyncio.Future.done(value):  # type: ignore[arg-type]  # it is one
        return "[it is still at work: `await _` gives its result]\n"
    return ""


def of_names(user_ns: Mapping[Any, Any]) -> str:
    """The note on names that hold a coroutine which has not run, once for each coroutine."""
    found = [(name, value) for name, value in list(user_ns.items()) if type(value) is types.CoroutineType]
    return "".join(
        f"[{name} is a coroutine that has not run: `{name} = await {_call(value)}` gives its result]\n"
        for name, value in found
        if not is_shell_name(name) and _tell(value)
    )


def _tell(coroutine: Any) -> bool:
    """Whether a coroutine has not begun and was not reported yet; this marks it."""
    if type(coroutine.__qualname__) is _Told or inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED:
        return False
    coroutine.__qualname__ = _Told(coroutine.__qualname__)
    return True


def _name(thing: Any) -> str:
    return exact(thing.__name__)


def _call(thing: Any) -> str:
    """The call that made a coroutine or an asynchronous generator; its arguments are not known any more."""
    code: types.CodeType = thing.cr_code if type(thing) is types.CoroutineType else thing.ag_code
    takes_any = code.co_argcount or code.co_kwonlyargcount or code.co_flags & _ANY_ARGUMENTS
    return f"{_name(thing)}({'...' if takes_any else ''})"


def _warn_unless_told(coroutine: Any) -> None:
    if type(coroutine.__qualname__) is _Told:
        return
    if coroutine.cr_origin is not None:  # origin tracking is switched on (`sys.set_coroutine_origin_tracking_depth`)
        _warn_unawaited(coroutine)
        return
    # Not by Python's own function, which would name this line.
    text = f"coroutine '{coroutine.__qualname__}' was never awaited"
    warnings.warn(text, RuntimeWarning, stacklevel=2, source=coroutine)
