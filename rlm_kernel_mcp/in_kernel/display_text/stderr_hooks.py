"""What Python itself says on stderr: warnings, exceptions of threads and of destructors, printed tracebacks.

Is: their texts, and those of tasks, with places named as in `tracebacks.py`, so that no path of the installation is
shown. Is not: a wall: code that asks for `__file__` gets it. A courtesy. Above: `in_kernel/ipython/app.py`. Below:
`tracebacks.py`, `source_locations.py`.
"""

from __future__ import annotations

import asyncio
import asyncio.coroutines
import asyncio.format_helpers
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from IPython.core import interactiveshell

from rlm_kernel_mcp.in_kernel.display_text import inspection
from rlm_kernel_mcp.in_kernel.display_text.source_locations import display_location, is_internal_frame, source_line
from rlm_kernel_mcp.in_kernel.display_text.tracebacks import format_exception

EXIT_HINT: Final = "To exit:"
"""Beginning of IPython's advice after a SystemExit, which a session's client cannot follow."""

_shell: Any = interactiveshell
_warn = _shell.warn
_format_frame = traceback.StackSummary.format_frame_summary
_coroutines: Any = asyncio.coroutines
_format_helpers: Any = asyncio.format_helpers
_format_coroutine = _coroutines._format_coroutine
_function_source = _format_helpers._get_function_source


def install_notices(is_ours: Callable[[BaseException | None], bool] = lambda error: False) -> None:
    """From now on this process uses these texts.

    `is_ours`: asked whether an exception that nobody could catch is none of the session's code, and is not told.
    """
    warnings.formatwarning = _warning
    threading.excepthook = _thread_exception
    sys.unraisablehook = partial(_unraisable, is_ours)
    traceback.StackSummary.format_frame_summary = _frame  # type: ignore[method-assign]  # there is no other hook
    _shell.warn = _shell_warning
    # The functions that the `repr` of a task, a future and a handle use.
    _coroutines._format_coroutine, _format_helpers._get_function_source = _coroutine, _source


def _coroutine(coro: Any) -> str:
    """As asyncio's: a coroutine's name, and where it is."""
    text: str = _format_coroutine(coro)
    code = getattr(coro, "cr_code", None) or getattr(coro, "gi_code", None)
    return (
        text.replace(code.co_filename, display_location(code.co_filename), 1) if type(code) is types.CodeType else text
    )


def _source(function: Any) -> tuple[str, int] | None:
    """As asyncio's: file and line of a function."""
    found = _function_source(function)
    return found and (display_location(found[0]), found[1])


def _shell_warning(message: Any, *args: Any, **kwargs: Any) -> None:
    if not (type(message) is str and message.startswith(EXIT_HINT)):
        _warn(message, *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """As `warnings.formatwarning`; the shell's own frames have no place, and only a step's lines are shown."""
    where = "" if is_internal_frame(filename) else f"{display_location(filename)}:{lineno}: "
    source = (line or source_line(filename, lineno) or "").strip()
    text = f"{where}{inspection.exact(category.__name__)}: {message}\n"
    return f"{text}  {source}\n" if source and where else text


def _thread_exception(args: Any) -> None:
    """As `threading.excepthook`."""
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread is not None else threading.get_ident()
        _say(f"Exception in thread {str(name)[: inspection.NAME_CHARS]}:", args)


def _unraisable(is_ours: Callable[[BaseException | None], bool], args: Any) -> None:
    """As `sys.unraisablehook`, for an exception that nobody can catch: a destructor's, a callback's."""
    if is_ours(args.exc_value):
        return
    it = args.object
    name = it.__qualname__ if isinstance(it, types.FunctionType | types.MethodType) else inspection.type_name(it)
    _say(f"{args.err_msg or 'Exception ignored in'}: {name[: inspection.NAME_CHARS]}", args)


def _say(head: str, args: Any) -> None:
    value = args.exc_value if args.exc_value is not None else args.exc_type()
    _, _, lines = format_exception(args.exc_type, value, args.exc_traceback)
    if sys.stderr is not None:
        sys.stderr.write("\n".join([head, *lines, ""]))


def _frame(self: traceback.StackSummary, frame_summary: traceback.FrameSummary) -> str:
    """As the method of that name, for what code prints with `traceback` or `logging`."""
    text = _format_frame(self, frame_summary)
    return text.replace(f'"{frame_summary.filename}"', f'"{display_location(frame_summary.filename)}"', 1)
