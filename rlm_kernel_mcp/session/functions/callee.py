"""A program that has functions, as a session sees it: what is called there, and what is said back.

Is: the contract. Is not: which call is made (`calls.py`), nor a function (`doors/calling/`, `host/kinds/calling.py`).
Above: `calls.py`, `session/calls/wishes.py`, `doors/`, `host/`. Below: nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

Gave = Callable[[str | None, str | None], None]
"""Takes the JSON of what a function gave, or its words on why it gave nothing."""
AtOnce = Callable[[str | None, str | None], bool]
"""Takes the same in the thread that has it, before the loop is told; whether the kernel has it now."""


class Callee(Protocol):
    """A program that runs a step and has functions of its own. Nothing here waits, or raises."""

    @property
    def names(self) -> Collection[str]:
        """Of its functions."""

    def call(self, number: int, name: str, arguments: str, gave: Gave, at_once: AtOnce) -> None:
        """Call a function with a JSON object; `gave` is called once, from the event loop, also where it is dropped.

        `at_once`: may be called in any thread, once, before `gave` is called with the same; if the kernel has it then,
        `gave` may be called a little later.
        """

    def hear(self) -> None:
        """Call `gave` now for each call of which that was put off."""

    def drop(self, number: int) -> None:
        """Nobody waits for that call any more; what has not begun is not to begin."""
