"""A session that another node had, written into this store: all of its rows or none.

Is: the transaction, and what is refused. Is not: a row as bytes (`rows.py`), what a row says differently here
(`session/carrying/incoming.py`), nor the session's values (`session/snapshots/carried.py`). Above: `store/reading.py`.
Below: `rows.py`, `store/database/`.

An id of a row is larger than every earlier one of its session, whichever node gave it: whoever opens the session begins
behind the largest (`records.LAST_ID`), also where the clocks of two nodes are far apart.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.store.carrying.rows import KEYS, Value, damaged, row_of
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.file import explain_error
from rlm_kernel_mcp.store.database.records import (
    EVENT_COLUMNS,
    SESSION_CHECKS,
    SESSION_COLUMNS,
    EventRow,
    SessionRecord,
    changed_event,
    changed_session,
    delete_session,
    event_checks,
    insert_session,
    session_of,
    update_event,
)
from rlm_kernel_mcp.store.database.rows import values_of
from rlm_kernel_mcp.store.database.schema import transaction

ROWS_BYTES_MAX: Final = 1 << 30
"""Of the rows of one session: a store keeps less of one."""
AGAIN: Final = "Call the tool again: it goes to another node, if there is one; tell the user to check this node's disk."
_WITHOUT_END: Final = (
    f"SELECT {', '.join(EVENT_COLUMNS)}, text_bytes FROM events "  # noqa: S608 (our own names)
    "WHERE session_id = ? AND action = 'run_repl' AND source = 'mcp' AND result_status = 'unknown'"
)
_SESSION: Final = f"SELECT {', '.join((*SESSION_COLUMNS, *SESSION_CHECKS))} FROM sessions WHERE session_id = ?"  # noqa: S608 (ours)

Rows = list[tuple[str, dict[str, Value]]]
Changes = Callable[[SessionRecord], Mapping[str, Any]]
"""What the session's own row says differently here."""
EventChanges = Callable[[EventRow], Mapping[str, Any]]
"""The same of the row of a step that has no end."""


def rows_of(frames: Iterable[tuple[str, bytes]], session_id: str) -> Rows:
    """The rows of a session, by their keys. Raises: StoreDamaged."""
    rows: Rows = []
    size = 0
    for key, body in frames:
        size += len(body)
        if size > ROWS_BYTES_MAX:
            raise damaged(session_id, f"its rows have more than {ROWS_BYTES_MAX:,} bytes")
        rows.append(row_of(key, body, session_id))
    return rows


class Bringing:
    """One store's. Its methods wait for the disk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bring_in(self, session_id: str, rows: Rows, changes: Changes, of_unended: EventChanges) -> None:
        """Write a session in place of whatever there is of it here.

        Raises:
            StoreDamaged: a row cannot be one of a session. Nothing of it is written.
            SessionBusy: the disk does not take it. The same.
        """
        if not self._database.is_on_disk:
            raise _refused(session_id, self._database.problem or "the session store is closed")

        def write(connection: sqlite3.Connection) -> None:
            try:
                with transaction(connection):
                    delete_session(connection, session_id)
                    known = {table: _columns(connection, table) for table in KEYS}
                    for table, row in rows:
                        if unknown := sorted(row.keys() - known[table]):
                            raise damaged(session_id, f"{table} have no {unknown[0][:100]!r} in this version")
                        _insert(connection, table, row)
                    _change(connection, session_id, changes, of_unended)
            except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
                if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError):
                    raise damaged(session_id, f"a row does not fit into a table ({error})") from error
                raise _refused(session_id, explain_error(error)) from error

        self._database.write(write)


def _refused(session_id: str, why: str) -> SessionBusy:
    return SessionBusy(f"Session {session_id} cannot be taken over by this node: {why}", AGAIN)


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {str(column[1]) for column in connection.execute(f"PRAGMA table_info({table})")}


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, Value]) -> None:
    columns, marks = ", ".join(row), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", [*row.values()])  # noqa: S608 (known names)


def _change(connection: sqlite3.Connection, session_id: str, changes: Changes, of_unended: EventChanges) -> None:
    """Write what rows say differently here, with their checksums."""
    found = connection.execute(_SESSION, (session_id,)).fetchone()
    record = None if found is None else session_of(found)
    if record is None:
        raise damaged(session_id, "it has no row of its own" if found is None else "its own row is damaged")
    changed, _ = changed_session(record, dict(changes(record)))
    insert_session(connection, changed or record)
    for *columns, text_bytes in connection.execute(_WITHOUT_END, (session_id,)).fetchall():
        values = values_of(columns)
        event = None if values is None else EventRow(*values)
        if event is None or event.id is None or type(text_bytes) is not int:
            continue  # it is damaged, and is told to be
        also = dict(of_unended(event))
        checks = event_checks(changed_event(event, also), text_bytes)
        update_event(connection, session_id, event.id, also | checks)
