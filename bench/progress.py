"""How far a long run is, and how long it will still take: a line for a person at a terminal.

Is: one line on stderr, drawn anew with each round and gone at the end; nothing where nobody looks. Is not: a result:
those are printed as ever, each on a line of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rlm_kernel_mcp.commands.showing.progress import draw as _draw
from rlm_kernel_mcp.commands.showing.progress import line

T = TypeVar("T")


class Heard(Protocol):
    """What a client of MCP has for a call that says itself how far it is."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """So much of so much is done."""


def told(rounds: Iterable[T], count: int, what: str, pause_s: float = 0.0) -> Iterator[T]:
    """The same rounds; between them it is said how many of the `count` are done, and when the rest may be.

    `pause_s`: after which it is said again, of rounds that are many and short.
    """
    if not sys.stderr.isatty():
        yield from rounds
        return
    begun = time.monotonic()
    next_s = 0.0
    try:
        for done, one in enumerate(rounds):
            if (elapsed_s := time.monotonic() - begun) >= next_s:
                _draw(line(what, done, count, elapsed_s))
                next_s = elapsed_s + pause_s
            yield one
    finally:
        _draw("")


@contextmanager
def heard(what: str) -> Iterator[Heard | None]:
    """Draws what it is told, and nothing of it at the end; None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    begun = time.monotonic()

    async def draw(progress: float, total: float | None, message: str | None) -> None:
        del message
        if total:
            _draw(line(what, int(progress), int(total), time.monotonic() - begun))

    try:
        yield draw
    finally:
        _draw("")
