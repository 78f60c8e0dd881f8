"""What all sessions of a user share of their questions: the answers that are kept, and how many were asked in a day.

Is: rows of two tables. Is not: what makes an answer's key or value (`session/answering/`). Above: `reading.py`,
`store.py`, `pruning.py`. Below: `database/database.py`, sqlite3.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.memory import Operation
from rlm_kernel_mcp.store.database.schema import atomic, for_rows

ANSWERS_BYTES: Final = 256 << 20
"""Of all answers that are kept; the one that was not used for longest goes first."""
AT_ONCE: Final = 500
"""Keys of one query, and answers removed in one transaction that others wait for."""
HOUR: Final = len("2026-11-29T18")
"""Of a time: that an answer was used is noted once an hour."""


class Days:
    """How many questions this process has asked on which day: its own rows, whatever becomes of the file."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.server = os.urandom(16).hex()
        self.asked: dict[str, int] = {}

    def seed(self, connection: sqlite3.Connection) -> None:
        """Write them into a database that takes over."""
        for day, asked in list(self.asked.items()):
            connection.execute("INSERT OR REPLACE INTO subcall_days VALUES (?, ?, ?)", (day, self.server, asked))


class Answers:
    """One store's. Its methods wait for the disk, and none raises for a bad one."""

    def __init__(self, database: Database, days: Days) -> None:
        self._database = database
        self._days = days

    def kept(self, keys: Sequence[str], now_iso: str) -> dict[str, bytes]:
        """The values that are kept under some keys. A damaged one is none."""
        found: dict[str, bytes] = {}
        stale: list[str] = []
        for at in range(0, len(keys), AT_ONCE):
            some = tuple(keys[at : at + AT_ONCE])
            values, old = _intact(self._database.read(_values_under(len(some)), some), now_iso)
            found |= values
            stale += old
        if stale:
            self.note_used(stale, now_iso)
        return found

    def kept_at_once(self, keys: Sequence[str], now_iso: str) -> tuple[dict[str, bytes], list[str]] | None:
        """The same of at most `AT_ONCE`, with the keys whose use is to be noted; None: that would wait for a thread."""
        rows: list[tuple[Any, ...]] = []
        query = _values_under(len(keys))
        is_read = self._database.at_once(lambda: rows.extend(self._database.read(query, tuple(keys))), reads=True)
        return _intact(rows, now_iso) if is_read else None

    def note_used(self, keys: Sequence[str], now_iso: str) -> None:
        """Answers are used."""
        rows = [(now_iso, key) for key in keys]
        self._database.write(for_rows(_USED, rows))

    def keeping(self, answers: Iterable[tuple[str, bytes]], now_iso: str) -> Operation:
        """What keeps values in place of earlier ones, for whoever writes more with them."""
        rows = [(key, now_iso, len(value), zlib.crc32(value), value) for key, value in answers]

        def keep(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", rows)

        return keep

    def grant(self, wanted: int, most: int, day: str) -> int:
        """Take so many of the questions that all servers of this store may ask on a day, or what is left of them."""
        days, granted = self._days, 0

        def take(connection: sqlite3.Connection) -> None:
            nonlocal granted
            with atomic(connection):
                own = days.asked.get(day, 0)
                (others,) = connection.execute(_OTHERS, (day, days.server)).fetchone()
                granted = max(0, min(wanted, most - others - own))
                connection.execute(
                    "INSERT OR REPLACE INTO subcall_days VALUES (?, ?, ?)", (day, days.server, own + granted)
                )

        with days.lock:
            self._database.write(take)
            days.asked = {day: days.asked.get(day, 0) + granted}
        return granted

    def give_back(self, unused: int, day: str) -> None:
        """Of those that were taken on a day, these were not asked."""
        with self._days.lock:
            if day in self._days.asked:
                self._days.asked[day] = max(0, self._days.asked[day] - unused)
                self._database.write(self._days.seed)

    def asked_on(self, day: str) -> int:
        """How many were asked on a day, by all servers."""
        rows = self._database.read("SELECT server, asked FROM subcall_days WHERE day = ?", (day,))
        return sum(dict(rows).values())


_USED: Final = "UPDATE answers SET used_at = ? WHERE key = ?"
_OTHERS: Final = "SELECT coalesce(sum(asked), 0) FROM subcall_days WHERE day = ? AND server <> ?"
_OLDEST: Final = "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY used_at LIMIT ?)"
_OLD: Final = "DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE used_at < ? ORDER BY used_at LIMIT ?)"


def prune_answers(database: Database, now_iso: str, max_age_days: float, max_bytes: int = ANSWERS_BYTES) -> None:
    """Remove answers that were not used for long, then those that were not used for longest, and the days before."""
    now = datetime.fromisoformat(now_iso)
    oldest = (now - timedelta(days=max_age_days)).isoformat(timespec="milliseconds")
    yesterday = (now - timedelta(days=1)).date().isoformat()
    database.write(for_rows("DELETE FROM subcall_days WHERE day < ?", [(yesterday,)]))
    while database.is_on_disk:
        rows = database.read("SELECT count(*), coalesce(sum(bytes), 0), min(used_at) FROM answers")
        count, size, first = rows[0] if rows else (0, 0, None)
        if not count or (size <= max_bytes and first >= oldest):
            return
        rows_of = [(oldest, AT_ONCE)] if first < oldest else [(_portion(count, size, max_bytes),)]
        statement = _OLD if first < oldest else _OLDEST
        database.write(for_rows(statement, rows_of))


def _portion(count: int, size: int, max_bytes: int) -> int:
    """About as many as are too much."""
    return max(1, min(AT_ONCE, (size - max_bytes) * count // size))


def _values_under(count: int) -> str:
    marks = ", ".join("?" * count)
    return f"SELECT key, used_at, value_check, value FROM answers WHERE key IN ({marks})"  # noqa: S608 (marks)


def _intact(rows: Iterable[tuple[Any, ...]], now_iso: str) -> tuple[dict[str, bytes], list[str]]:
    """The values that are as they were written, and the keys of those whose use was noted an hour ago or earlier."""
    found: dict[str, bytes] = {}
    stale: list[str] = []
    for key, used_at, check, value in rows:
        if isinstance(value, bytes) and zlib.crc32(value) == check:
            found[key] = value
            stale += [key] if str(used_at)[:HOUR] != now_iso[:HOUR] else []
    return found, stale
