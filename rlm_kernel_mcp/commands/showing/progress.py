"""How far something long is, and how long it will still take: a line on stderr for a person at a terminal.

Is: one line, drawn anew and gone at the end; nothing where nobody looks. Is not: a result, which is printed as ever.
Above: `commands/resume.py`, `commands/notebooks.py`. Below: `terminal.py`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from rlm_kernel_mcp.commands.showing.terminal import is_terminal

T = TypeVar("T")
CLEAR: Final = "\r\x1b[K"
CELLS: Final = 24
PAUSE_S: Final = 0.25
"""Between two looks; what ends before the first one draws nothing."""
CONTEXT_BYTES: Final = "bytes of the context"


async def shown_while(
    work: Coroutine[Any, Any, T], look: Callable[[], Awaitable[tuple[int, int]]], what: str, pause_s: float = PAUSE_S
) -> T:
    """Await it; a person sees meanwhile how much of how much is done, which `look` says; nothing of 0."""
    task = asyncio.ensure_future(work)
    begun = time.monotonic()
    try:
        while is_terminal(sys.stderr) and not (await asyncio.wait({task}, timeout=pause_s))[0]:
            done, of = await look()
            draw(line(what, min(done, of), of, time.monotonic() - begun) if of else "")
        return await task
    finally:
        task.cancel()
        if is_terminal(sys.stderr):
            draw("")


def line(what: str, done: int, count: int, elapsed_s: float) -> str:
    """`frames [####......] 12 of 45, about 3 min left`. What is left is known once a round has ended."""
    full = CELLS * done // count if count else 0
    left = f", {_about(elapsed_s / done * (count - done))} left" if done else ""
    return f"{what} [{'#' * full}{'.' * (CELLS - full)}] {done:,} of {count:,}{left}"


def draw(text: str) -> None:
    """Have this in the line; nothing of it where it is empty."""
    sys.stderr.write(f"{CLEAR}{text}\r")  # what is printed next begins where this does
    sys.stderr.flush()


def _about(seconds: float) -> str:
    for unit_s, unit in ((3_600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"about {seconds / unit_s:.0f} {unit}"
    return f"about {seconds:.0f} s"
