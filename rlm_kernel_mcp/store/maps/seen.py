"""What of a session's contexts was looked at, a row for each step and kind: packed, and each with its checksum.

Is: rows as they were given, as long as the session has room for them. Is not: what is in one
(`session/seen/recorded.py`). Above: `store/reading.py`, `store/store.py`. Below: `store/database/`.

A row says nothing that its event needs: one that is damaged, or has no room, makes the map of a context say less.
"""

from __future__ import annotations

import sqlite3
import zlib
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.memory import Operation
from rlm_kernel_mcp.store.database.rows import check_of
from rlm_kernel_mcp.store.database.schema import nothing

SESSION_BYTES: Final = 8 << 20
"""Of what is kept of one session, packed."""
ROW_BYTES: Final = 200
"""Of a row beside its data, about."""
UNPACKED_BYTES: Final = 1 << 20
"""Of the data of one: whatever the disk has, no more is unpacked."""
PACKED_FROM: Final = 512
"""Bytes of data that are packed: for less, which most steps have, that takes longer than all else of a row."""

_INSERT: Final = (
    "INSERT OR REPLACE INTO seen SELECT ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM sessions WHERE session_id = ?1)"
)
_USED: Final = "SELECT sum(bytes) + ? * count(*) FROM seen WHERE session_id = ?"
_ROWS: Final = (
    "SELECT id, event, kind, bytes, seen_check, data FROM seen WHERE session_id = ? AND id > ? ORDER BY id LIMIT ?"
)
_SESSIONS: Final = "SELECT DISTINCT session_id FROM seen"


@dataclass(frozen=True, slots=True)
class SeenRow:
    """One of them. `id`: larger than that of each row of the session that was written before."""

    id: int
    event: int
    """The id of the event that it belongs to."""
    kind: str
    data: bytes | None
    """None: it is damaged."""


class SeenRows:
    """One store's. Its methods wait for the disk, and none raises for a bad one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, int] = {}

    def adding(self, session_id: str, row_id: int, event: int, kind: str, data: bytes) -> Operation:
        """What writes a row, or nothing where there is no data or no room for it. `row_id`: minted."""
        if not data:
            return nothing
        kept = packed(data)
        if session_id not in self._used:
            used = self._database.read(_USED, (ROW_BYTES, session_id))
            self._used[session_id] = sum(size or 0 for (size,) in used)
        if len(data) > UNPACKED_BYTES or self._used[session_id] + len(kept) + ROW_BYTES > SESSION_BYTES:
            return nothing
        self._used[session_id] += len(kept) + ROW_BYTES
        values = (session_id, row_id, event, kind, len(kept))
        row = (*values, packed_check(values, kept), kept)

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT, row)

        return insert

    def add(self, session_id: str, row_id: int, event: int, kind: str, data: bytes) -> None:
        """Write one by itself."""
        self._database.write(self.adding(session_id, row_id, event, kind, data), len(data))

    def let_go(self, session_id: str) -> None:
        """Keep nothing of a session in memory any more."""
        self._used.pop(session_id, None)

    def of(self, session_id: str, after: int = 0, most: int = -1) -> list[SeenRow]:
        """A session's rows in the order in which they were written, from behind the one with an id on.

        `most`: only so many of them, the first ones; -1: all.
        """
        rows = self._database.read_apart(_ROWS, (session_id, after, most))
        found = {row[0]: row for row in rows if type(row[0]) is int}
        return [_row(session_id, found[row_id]) for row_id in sorted(found)][: None if most < 0 else most]

    def damaged(self) -> int:
        """How many are not what was written. It reads all, session by session: call it in a thread."""
        sessions = {one for (one,) in self._database.read_apart(_SESSIONS) if type(one) is str}
        return sum(row.data is None for one in sessions for row in self.of(one))


def _row(session_id: str, values: tuple[Any, ...]) -> SeenRow:
    row_id, event, kind, size, check, kept = values
    is_right = type(event) is type(size) is int and type(kind) is str and type(kept) is bytes
    if not is_right or check != packed_check((session_id, row_id, event, kind, size), kept) or len(kept) != size:
        return SeenRow(row_id, 0, "", None)
    return SeenRow(row_id, event, kind, unpacked(kept))


def packed(data: bytes) -> bytes:
    """Data as a row has it: behind a byte that says whether it is packed."""
    return b"\0" + data if len(data) < PACKED_FROM else b"\1" + zlib.compress(data, 1)


def unpacked(kept: bytes) -> bytes | None:
    """The data of a row; None: it is none, or far too large."""
    if kept[:1] == b"\0" and len(kept) <= PACKED_FROM:
        return kept[1:]
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(kept[1:], UNPACKED_BYTES)
    except zlib.error:
        return None
    return data if unpacking.eof else None


def packed_check(values: tuple[Any, ...], kept: bytes) -> int:
    """The checksum of a row, which is no other's."""
    return check_of((*values, zlib.crc32(kept)))
