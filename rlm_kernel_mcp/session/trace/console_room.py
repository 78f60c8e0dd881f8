"""How many cells of consoles the record of one session takes: a kernel can make cells up.

Is: a count, and which cells of the kernel that is there now are recorded. Is not: the rows. Above: `journal.py`.
Below: `store/store.py`'s rows.
"""

from __future__ import annotations

from typing import Final

from rlm_kernel_mcp.store.store import EventRow

CONSOLE_EVENTS_MAX: Final = 5_000
CONSOLE_CHARS_MAX: Final = 20_000_000
"""Console cells kept of one session, and their characters in all."""


class ConsoleRoom:
    """One session's."""

    def __init__(self) -> None:
        self._events = self._chars = 0
        self._counts: set[int] = set()
        """Execution counts of the cells that are recorded."""

    def new_kernel(self) -> None:
        """Its execution counts begin anew."""
        self._counts.clear()

    def has(self, count: int) -> bool:
        """Whether the cell of that execution count is recorded."""
        return count in self._counts

    def takes(self, row: EventRow, count: int | None) -> bool:
        """Whether there is room for one more; it is counted, and recorded if there is."""
        texts = (row.code, row.stdout, row.stderr, row.result, row.error)
        self._events += 1
        self._chars += sum(len(text) for text in texts if text)
        has_room = self._events <= CONSOLE_EVENTS_MAX and self._chars <= CONSOLE_CHARS_MAX
        if has_room and count is not None:
            self._counts.add(count)
        return has_room
