"""The memory that all sessions' open questions may take. Sans-I/O.

Is: a count of bytes, and who is to be told when there is room again. Is not: the bounds of one session (`channel.py`).
Above: `channel.py`, `session/reopening.py`. Below: nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ALL_BYTES_MAX: Final = 256 << 20


class QuestionRoom:
    """One server's."""

    def __init__(self, most: int = ALL_BYTES_MAX) -> None:
        self._most = most
        self._taken = 0
        self._waiting: dict[object, Callable[[], None]] = {}

    @property
    def is_full(self) -> bool:
        return self._taken >= self._most

    def take(self, size: int) -> None:
        """A question is open."""
        self._taken += size

    def give_back(self, size: int) -> None:
        """It is not any more."""
        self._taken -= size
        if self._waiting and not self.is_full:
            waiting, self._waiting = self._waiting, {}
            for tell in waiting.values():
                tell()

    def wait(self, who: object, tell: Callable[[], None]) -> None:
        """Have `tell` called once there is room."""
        self._waiting[who] = tell

    def forget(self, who: object) -> None:
        """Nobody waits there any more."""
        self._waiting.pop(who, None)
