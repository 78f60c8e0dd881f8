"""Which rows of a session have changed since others were given them: SQLite itself says so.

Is: temporary triggers on the store's connection, which note the key of each row that is written, and the rows behind
these keys. A store that nobody follows has none of it, and no write of it is slower. Is not: what a row is as bytes
(`rows.py`), nor where the bytes go. Above: `store/reading.py`. Below: `store/database/`.

Whatever the code is that writes a row, its connection notes it; so nothing that is written can be forgotten here. A
connection that has no notes, since the file was opened again or memory has taken over, knows nothing of what was
given: then all rows of the session count as changed. Whoever has a row twice has it as it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.store.carrying.rows import KEYS, Key, body_of, key_of
from rlm_kernel_mcp.store.database.database import Database

ROWS_BYTES: Final = 32 << 20
"""Of rows that are given at once, about: one that is larger comes with those before it."""
AGAIN: Final = "Call the tool again later; if it fails again, tell the user to check the disk of RLM_STATE_DIR."

_NOTES: Final = (
    "PRAGMA temp_store = MEMORY",
    "CREATE TEMP TABLE changed (seq INTEGER PRIMARY KEY AUTOINCREMENT, session_id, tab, one, two)",
    "CREATE INDEX temp.changed_of ON changed (session_id, seq)",
    "CREATE TEMP TABLE changed_since (generation TEXT)",
)
_NEWEST: Final = (
    "SELECT max(seq), tab, one, two FROM temp.changed WHERE session_id = ? AND seq > ? "
    "GROUP BY tab, one, two ORDER BY tab = 'sessions', max(seq)"
)
"""The keys that have changed, the session's own row last: who has that has all that it says."""
_NOTE: Final = "INSERT INTO temp.changed (session_id, tab) VALUES (?, 'sessions')"

NOTES_MAX: Final = 200_000
"""Of all sessions; they take about 100 bytes each."""
NOTES_LOOKED_AT: Final = 1_000
"""After how many looks they are counted."""
AT_ONCE_ROWS: Final = 16
AT_ONCE_BYTES: Final = 200_000
"""As much as a step may write without a thread (`store/writer.py`), and so as much as is read without one."""
_SIZES: Final = {
    "sessions": "SELECT length(final_answer) FROM main.sessions WHERE session_id = ?",
    "events": "SELECT text_bytes FROM main.events WHERE session_id = ? AND id = ?",
    "seen": "SELECT bytes FROM main.seen WHERE session_id = ? AND id = ?",
}

Keys = list[tuple[Any, ...]]
"""Of changed rows: the newest note, the table, and what tells the row from others."""
Wanted = Callable[[sqlite3.Connection, str, Keys], bool]


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where somebody has the rows of a session."""

    generation: str = ""
    """Which notes it is of; those of another connection are other ones."""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class ChangedRows:
    """Rows as bytes by their keys, in the order in which they were written. None: there is no such row any more."""

    frames: tuple[tuple[str, bytes | None], ...]
    mark: Mark
    """For the next time, once others have these."""
    is_all: bool
    """Whether no more rows have changed."""


class Following:
    """One store's. Its methods wait for the disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looks = 0
        self.has_begun = False
        """Whether others are to have the sessions of this store: then it is a copy, and they say what is removed."""

    def begin(self) -> None:
        """From now on, note what changes."""
        self.has_begun = True
        self._database.write(_note)

    def changed(self, session_id: str, mark: Mark) -> ChangedRows:
        """The rows of a session that have changed since a mark; after it, nobody asks with an earlier mark again.

        Raises: SessionBusy: the record cannot be read.
        """
        found = self._changed(session_id, mark, lambda *_: True)
        if found is None:
            raise SessionBusy(f"The record of session {session_id} cannot be read: {self._database.problem}", AGAIN)
        return found

    def changed_at_once(self, session_id: str, mark: Mark) -> ChangedRows | None:
        """The same on an event loop; None where that would wait for another thread, or where much is to be read."""
        found: list[ChangedRows | None] = []
        self._database.at_once(lambda: found.append(self._changed(session_id, mark, _are_small)), reads=True)
        return found[0] if found else None

    def _changed(self, session_id: str, mark: Mark, is_wanted: Wanted) -> ChangedRows | None:
        found: list[ChangedRows] = []

        def look(connection: sqlite3.Connection) -> None:
            self._bound(connection)
            generation = _with_notes(connection)
            if mark.generation != generation:
                _note_all(connection, session_id)
            since = mark.seq if mark.generation == generation else 0
            connection.execute("DELETE FROM temp.changed WHERE session_id = ? AND seq <= ?", (session_id, since))
            keys = connection.execute(_NEWEST, (session_id, since)).fetchall()
            wanted = is_wanted(connection, session_id, keys)
            found[:] = [_changed(connection, session_id, Mark(generation, since), keys)] if wanted else []

        self._database.write(look)
        return found[0] if found else None

    def _bound(self, connection: sqlite3.Connection) -> None:
        """Begin anew where there are too many notes: of sessions that nobody asks for, such as children."""
        self._looks += 1
        if self._looks % NOTES_LOOKED_AT == 0 and _with_notes(connection):
            (count,) = connection.execute("SELECT count(*) FROM temp.changed").fetchone()
            if count > NOTES_MAX:
                connection.execute("DELETE FROM temp.changed")
                connection.execute("UPDATE temp.changed_since SET generation = ?", (os.urandom(8).hex(),))

    def mark(self, session_id: str) -> Mark:
        """Of somebody who has all rows of a session as they are now."""
        mark: list[Mark] = []

        def look(connection: sqlite3.Connection) -> None:
            generation = _with_notes(connection)
            (seq,) = connection.execute(
                "SELECT max(seq) FROM temp.changed WHERE session_id = ?", (session_id,)
            ).fetchone()
            mark[:] = [Mark(generation, seq or 0)]

        self._database.write(look)
        return mark[0] if mark else Mark()

    def forget(self, session_id: str) -> None:
        """Nobody wants to know any more what changes in a session."""

        def forget(connection: sqlite3.Connection) -> None:
            _with_notes(connection)
            connection.execute("DELETE FROM temp.changed WHERE session_id = ?", (session_id,))

        self._database.write(forget)


def _note(connection: sqlite3.Connection) -> None:
    """From now on, have a connection note what changes."""
    _with_notes(connection)


def _with_notes(connection: sqlite3.Connection) -> str:
    """See that a connection notes what changes; which notes these are."""
    if connection.execute("SELECT 1 FROM temp.sqlite_master WHERE name = 'changed'").fetchone() is None:
        for statement in (*_NOTES, *_triggers()):
            connection.execute(statement)
        connection.execute("INSERT INTO temp.changed_since VALUES (?)", (os.urandom(8).hex(),))
    (generation,) = connection.execute("SELECT generation FROM temp.changed_since").fetchone()
    return str(generation)


def _triggers() -> Iterator[str]:
    for table, columns in KEYS.items():
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            key = ", ".join([f"{row}.{column}" for column in columns] + ["NULL"] * (2 - len(columns)))
            yield (
                f"CREATE TEMP TRIGGER changed_{table}_{event} AFTER {event} ON main.{table} BEGIN "  # noqa: S608 (ours)
                f"INSERT INTO changed (session_id, tab, one, two) VALUES ({row}.session_id, '{table}', {key}); END"
            )


def _note_all(connection: sqlite3.Connection, session_id: str) -> None:
    """Note each row of a session, as if it had just been written."""
    connection.execute("DELETE FROM temp.changed WHERE session_id = ?", (session_id,))
    for table, columns in KEYS.items():
        key = ", ".join([*columns, *["NULL"] * (2 - len(columns))])
        connection.execute(
            f"INSERT INTO temp.changed (session_id, tab, one, two) "  # noqa: S608 (our own names)
            f"SELECT session_id, '{table}', {key} FROM main.{table} WHERE session_id = ? ORDER BY rowid",
            (session_id,),
        )


def _are_small(connection: sqlite3.Connection, session_id: str, keys: Keys) -> bool:
    """Whether rows are those that a step writes, and have no more text than is written at once."""
    if len(keys) > AT_ONCE_ROWS or {table for _, table, *_ in keys} - {"sessions", "events", "seen"}:
        return False
    size = 0
    for _, table, row_id, _ in keys:
        value = (session_id,) if table == "sessions" else (session_id, row_id)
        size += sum(found or 0 for (found,) in connection.execute(_SIZES[str(table)], value))
    return size <= AT_ONCE_BYTES


def _changed(connection: sqlite3.Connection, session_id: str, mark: Mark, keys: Keys) -> ChangedRows:
    frames: list[tuple[str, bytes | None]] = []
    seq, size = mark.seq, 0
    for place, (newest, table, *of_row) in enumerate(keys):
        key = Key(table, tuple(of_row[: len(KEYS[table])]))
        body = _body(connection, session_id, key)
        frames.append((key_of(key), body))
        size += len(body or b"")
        seq = max(seq, newest)
        if size > ROWS_BYTES and place + 1 < len(keys):
            # Those behind it have changed later, but for the session's own row, which is noted once more.
            connection.execute(_NOTE, (session_id,))
            return ChangedRows(tuple(frames), Mark(mark.generation, seq), is_all=False)
    return ChangedRows(tuple(frames), Mark(mark.generation, seq), is_all=True)


def _body(connection: sqlite3.Connection, session_id: str, key: Key) -> bytes | None:
    """A row as bytes; None if there is none."""
    names = ("session_id", *KEYS[key.table])
    condition = " AND ".join(f"{name} = ?" for name in names)
    statement = f"SELECT * FROM main.{key.table} WHERE {condition}"  # noqa: S608 (our own names)
    cursor = connection.execute(statement, (session_id, *key.of_row))
    row: tuple[Any, ...] | None = cursor.fetchone()
    if row is None:
        return None
    return body_of(key.table, dict(zip((column[0] for column in cursor.description), row, strict=True)))
