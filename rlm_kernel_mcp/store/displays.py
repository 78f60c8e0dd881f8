"""What the steps of sessions have displayed, a row each: pictures and texts, whole, each with its checksum.

Is: rows as they were given, as long as the session has room for them; beyond that their sizes alone. Is not: what is in
one (`session/trace/displayed.py`), nor which step has displayed how much, which its event says. Above: `reading.py`.
Below: `database/database.py`, `database/rows.py`.

They are written before the end of their step: a server that is killed in between leaves some of a step that nobody
knows the end of, and never a step that says it has more than there is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.rows import check_of
from rlm_kernel_mcp.store.database.schema import for_rows

SESSION_BYTES: Final = 64 << 20
"""Of what one session has displayed."""

_INSERT: Final = "INSERT OR REPLACE INTO displays VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_USED: Final = "SELECT sum(bytes) FROM displays WHERE session_id = ? AND data IS NOT NULL"
_ROWS: Final = (
    "SELECT number, place, mime_type, bytes, display_check, data FROM displays WHERE session_id = ? AND event = ?"
)
_EVENTS: Final = "SELECT DISTINCT session_id, event FROM displays"


@dataclass(frozen=True, slots=True)
class DisplayRow:
    """One of them. `place`: which of the step's displays; a value that is shown in several types has one for all."""

    place: int
    mime_type: str
    size_bytes: int
    data: bytes | None
    """None: the session had no room for it, or it is damaged."""
    is_damaged: bool = False


class DisplayRows:
    """One store's. Its methods wait for the disk, and none raises for a bad one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, int] = {}
        """Bytes that a session has displayed; of those that were written to here."""

    def add(self, session_id: str, event: int, displays: Sequence[tuple[int, str, bytes]]) -> None:
        """Keep what a step has displayed: (place, type, data) of each, in its order. `event`: the id of its row."""
        used = self._used.get(session_id)
        if used is None:  # of thousands of rows, while nobody else writes: once
            used = sum(size or 0 for (size,) in self._database.read(_USED, (session_id,)))
        rows: list[tuple[Any, ...]] = []
        for number, (place, mime_type, data) in enumerate(displays):
            kept = data if used + len(data) <= SESSION_BYTES else None
            used += len(kept or b"")
            values = (session_id, event, number, place, mime_type, len(data))
            rows.append((*values, _check(values, kept), kept))
        self._used[session_id] = used
        if rows:
            self._database.write(for_rows(_INSERT, rows), sum(len(row[-1] or b"") for row in rows))

    def of(self, session_id: str, event: int) -> list[DisplayRow]:
        """What a step has displayed, in its order."""
        found = self._database.read_apart(_ROWS, (session_id, event))
        by_number = {row[0]: row[1:] for row in found if type(row[0]) is int}
        return [_row((session_id, event, number), by_number[number]) for number in sorted(by_number)]

    def kept_bytes(self, session_id: str) -> int:
        """How much a session has displayed that is kept."""
        return sum(size or 0 for (size,) in self._database.read_apart(_USED, (session_id,)))

    def damaged(self) -> int:
        """How many are not what was written. It reads all, step by step: call it in a thread."""
        return sum(row.is_damaged for event in self._events() for row in self.of(*event))

    def _events(self) -> Iterator[tuple[str, int]]:
        for session_id, event in set(self._database.read_apart(_EVENTS)):
            if type(session_id) is str and type(event) is int:
                yield session_id, event


def _row(key: tuple[str, int, int], values: Sequence[Any]) -> DisplayRow:
    place, mime_type, size, check, data = values
    numbers = all(type(value) is int for value in (place, size, check))
    is_right = numbers and type(mime_type) is str and (data is None or (type(data) is bytes and len(data) == size))
    if not is_right or check != _check((*key, place, mime_type, size), data):
        return DisplayRow(0, "", 0, None, is_damaged=True)
    return DisplayRow(place, mime_type, size, data)


def _check(values: Sequence[Any], data: bytes | None) -> int:
    """The checksum of a row, which is no other's."""
    return check_of((*values, None if data is None else zlib.crc32(data)))
