"""`asyncio.run` and its like say what works in a step, where an event loop runs already.

Is: what they say, with the step's own expression in it. Is not: a wall. A courtesy. Above: `in_kernel/ipython/app.py`.
Below: `in_kernel/display_text/source_locations.py`.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import sys
import types
from itertools import islice
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text.source_locations import is_step, source_line

_OF_A_LOOP_S_END: Final = ("shutdown_asyncgens", "shutdown_default_executor")
CALL_LINES: Final = 10
CALL_CHARS: Final = 120
"""Characters of a call that a step should await, up to which it is quoted as it is written."""


def install_asyncio_run() -> None:
    """Have what runs a coroutine to its end say what works here, and close the coroutine."""
    run, run_until_complete = asyncio.run, asyncio.BaseEventLoop.run_until_complete
    enter_runner, run_in_runner = asyncio.Runner.__enter__, asyncio.Runner.run

    @functools.wraps(run)
    def run_or_say(main: Any, **options: Any) -> Any:
        _say_if_running("asyncio.run()", main)
        return run(main, **options)

    @functools.wraps(run_until_complete)
    def run_until_complete_or_say(self: asyncio.BaseEventLoop, future: Any) -> Any:
        if getattr(future, "__name__", "") not in _OF_A_LOOP_S_END:  # those are asyncio's own
            _say_if_running("run_until_complete()", future)
        return run_until_complete(self, future)

    @functools.wraps(enter_runner)
    def enter_runner_or_say(self: asyncio.Runner) -> asyncio.Runner:
        _say_if_running("Runner.run()", None)  # before a loop is made, whose end would fail too
        return enter_runner(self)

    @functools.wraps(run_in_runner)
    def run_in_runner_or_say(self: asyncio.Runner, coro: Any, **options: Any) -> Any:
        _say_if_running("Runner.run()", coro)
        return run_in_runner(self, coro, **options)

    asyncio.run = run_or_say
    # On the classes, so that a runner or loop which a library makes says the same.
    asyncio.Runner.__enter__ = enter_runner_or_say  # type: ignore[method-assign]
    asyncio.Runner.run = run_in_runner_or_say  # type: ignore[method-assign]
    asyncio.BaseEventLoop.run_until_complete = run_until_complete_or_say  # type: ignore[method-assign]


def _say_if_running(what: str, main: Any) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    written = _argument_as_written() or f"{getattr(main, '__name__', 'main')}()"
    if isinstance(main, types.CoroutineType):
        main.close()  # else Python would say "never awaited" at some other line
    raise RuntimeError(f"{what} cannot be called from a running event loop: write `await {written}` instead")


def _argument_as_written() -> str:
    """What the step's running call was given first, if that is a call itself: a coroutine of a name is closed."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and not is_step(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return ""
    first, last, start, end = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    if first is None or last is None or start is None or end is None or last - first > CALL_LINES:
        return ""
    lines = [(source_line(frame.f_code.co_filename, number) or "").encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    try:
        call = ast.parse(b"\n".join(line.rstrip(b"\n") for line in lines), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    match call:
        case ast.Call(args=[ast.Call() as given, *_]) | ast.Call(keywords=[ast.keyword(value=ast.Call() as given), *_]):
            written = ast.unparse(given)
            return written if len(written) <= CALL_CHARS else ""
    return ""
