"""What an event loop has to hear from threads: at once, or a little later where nobody waits for that.

Is: the wait for it, and one look for many calls. Is not: what is heard. Above: `functions.py`. Below: asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

HEAR_S: Final = 0.01
"""So much later the loop may hear of what a kernel has already. Where code calls in a loop its next call brings the
news, and a wake-up for each takes a tenth of a call's processor time."""


class News:
    """Of one loop, which alone may do more than tell."""

    def __init__(self) -> None:
        self._told: deque[Callable[[], object]] = deque()
        self.is_looking = False
        """Whether the loop is about to look by itself; else whoever tells wakes it."""

    def tell(self, loop: asyncio.AbstractEventLoop, do: Callable[[], object], *, may_wait: bool) -> None:
        """Have the loop do something, from any thread."""
        self._told.append(do)
        if may_wait and self.is_looking:  # after the line above; `_look` has it the other way round
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever asked
            loop.call_soon_threadsafe(self.hear)

    def look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something is about to be told."""
        if not self.is_looking:
            self.is_looking = True
            loop.call_later(HEAR_S, self._look)

    def hear(self) -> None:
        """Do now all that was told."""
        while self._told:
            self._told.popleft()()

    def _look(self) -> None:
        self.is_looking = False
        self.hear()
