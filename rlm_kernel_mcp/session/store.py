"""What survives a restart: sessions, their events with all output, and contexts given inline.

Is: one SQLite file below RLM_STATE_DIR that several servers share, and a lock for each session. Is not: the
meaning of the rows (`journal.py`, `trace.py`), nor the session's values (`snapshot_file.py`).
Above: `registry.py`, `journal.py`, the command line. Below: `store_database.py`, `store_lock.py`, `store_texts.py`.

Small rows are written from the event loop. A bad disk never raises: `problem` says what is the matter.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.session.store_database import Database
from rlm_kernel_mcp.session.store_file import meaning
from rlm_kernel_mcp.session.store_lock import SessionLock, holder_of, take_lock
from rlm_kernel_mcp.session.store_pruning import Pruning
from rlm_kernel_mcp.session.store_schema import (
    EVENT_COLUMNS,
    EVENT_TEXTS,
    SESSION_COLUMNS,
    EventRow,
    SessionKey,
    SessionRecord,
    given_back,
    insert_event,
    insert_session,
    update_event,
    update_session,
)
from rlm_kernel_mcp.session.store_texts import fit

__all__ = ["EventRow", "SessionKey", "SessionLock", "SessionRecord", "Store"]

_LAST_STATUSES: Final = ("finalized", "dead")

log = logging.getLogger(__name__)


class Store:
    """The record of all sessions of one user."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._last_id = 0
        self._minting = threading.Lock()
        self._live: dict[str, SessionRecord] = {}
        self._begun: dict[int, EventRow] = {}
        self._text_bytes: dict[str, int] = {}
        self._lock_problem: str | None = None
        self._database = Database(state_dir, self._seed)

    @classmethod
    def open(cls, state_dir: Path) -> Store:
        """The store below `state_dir`, which is made if it is missing. Never raises: see `problem`."""
        return cls(state_dir)

    @property
    def problem(self) -> str | None:
        """What is the matter with the disk and what mends it; None if all is well."""
        return self._database.problem or self._lock_problem

    def close(self) -> None:
        """Close the file. Locks are their holders' to release."""
        self._database.close()

    # Sessions

    def add_session(self, record: SessionRecord) -> None:
        """Write a new session's row."""
        record = replace(record, last_used_at=record.last_used_at or record.created_at)
        self._live[record.session_id] = record
        self._text_bytes.setdefault(record.session_id, 0)
        self._database.write(lambda connection: insert_session(connection, record))

    def update_session(self, session_id: str, **changes: Any) -> None:
        """Set some fields of a session's row; without such a row nothing happens."""
        self._database.write(lambda connection: update_session(connection, session_id, changes))
        if record := self._live.get(session_id):
            for name, value in changes.items():
                setattr(record, name, value)
        if changes.get("status") in _LAST_STATUSES:
            self._forget(session_id)

    def remove_session(self, session_id: str) -> None:
        """Remove every row of a session that came to nothing."""

        def remove(connection: sqlite3.Connection) -> None:
            for table in ("events", "contexts", "sessions"):
                connection.execute(f"DELETE FROM {table} WHERE session_id = ?", (session_id,))  # noqa: S608 (ours)

        self._forget(session_id)
        self._database.write(remove)

    def let_go(self, session_id: str) -> None:
        """Hold nothing of a session in memory any more: this process does not drive it from now on."""
        self._forget(session_id)

    def sessions(self) -> list[SessionRecord]:
        """All sessions of all servers, the oldest first."""
        found = self._sessions("")
        return sorted(found, key=lambda record: (record.created_at, record.session_id))

    def session_keys(self) -> list[SessionKey]:
        """All sessions of all servers, in no order: what one is chosen by, and no more."""
        rows = self._database.read("SELECT session_id, last_used_at, status FROM sessions")
        return [SessionKey(*row) for row in {row[0]: row for row in rows}.values()]

    def summaries(self, session_ids: Sequence[str]) -> list[SessionRecord]:
        """The rows of some sessions in the order given, without their answers."""
        marks = ", ".join("?" * len(session_ids))
        found = self._sessions(f"WHERE session_id IN ({marks})", *session_ids, left_out=("final_answer",))
        places = {session_id: place for place, session_id in enumerate(session_ids)}
        return sorted(found, key=lambda record: places[record.session_id])

    def session(self, session_id: str) -> SessionRecord | None:
        """One session's row."""
        found = self._sessions("WHERE session_id = ?", session_id)
        return found[0] if found else None

    # Events

    def begin_event(self, event: EventRow) -> int:
        """Write an event's row before it happens, as `unknown`; returns its id, for `complete_event`."""
        event.result_status = "unknown"
        return self._insert(event, is_begun=True)

    def add_event(self, event: EventRow) -> int:
        """Write an event that is whole already; returns its id."""
        return self._insert(event, is_begun=False)

    def complete_event(self, row_id: int, **changes: Any) -> None:
        """Set some fields of an event's row. Texts beyond the store's room are kept as head and tail, with a note."""
        begun = self._begun.get(row_id)
        session_id = begun.session_id if begun else self._session_of(row_id)
        if session_id is None:
            return
        texts, size = self._fitted(session_id, {name: changes[name] for name in EVENT_TEXTS if name in changes})
        changes |= texts | {"text_bytes": size + len((begun and begun.code) or "")}
        self._database.write(lambda connection: update_event(connection, session_id, row_id, changes), size)
        self._begun.pop(row_id, None)

    def amend_event(self, session_id: str, row_id: int, **changes: Any) -> None:
        """Set some fields, no texts, of the row of an event that is complete."""
        self._database.write(lambda connection: update_event(connection, session_id, row_id, changes))

    def events(
        self, session_id: str, from_step: int | None = None, to_step: int | None = None, *, texts: bool = True
    ) -> list[EventRow]:
        """A session's events in order; of all steps, or of those from and to an index, both included.

        `texts=False` leaves code, output and error out (None), and reads only the small part of each row.
        """
        columns = [column if texts or column not in EVENT_TEXTS else "NULL" for column in EVENT_COLUMNS]
        query = f"SELECT {', '.join(columns)} FROM events WHERE session_id = ?"  # noqa: S608 (known columns)
        parameters: list[Any] = [session_id]
        for condition, bound in ((" AND step_index >= ?", from_step), (" AND step_index <= ?", to_step)):
            if bound is not None:
                query += condition
                parameters.append(bound)
        rows = self._database.read(query, tuple(parameters))
        events = {row[-1]: EventRow(*map(given_back, row)) for row in rows}
        return [events[row_id] for row_id in sorted(events)]

    # What a fresh kernel needs

    def put_context(self, session_id: str, data: bytes) -> None:
        """Keep the bytes of a context that was given inline."""

        def put(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO contexts VALUES (?, ?)", (session_id, data))

        self._database.write(put, len(data))

    def context(self, session_id: str) -> bytes | None:
        """The bytes of a context that was given inline."""
        rows = self._database.read("SELECT data FROM contexts WHERE session_id = ?", (session_id,))
        return rows[-1][0] if rows else None

    # Over several processes

    def acquire(self, session_id: str) -> SessionLock | None:
        """Make this process the only one that drives a session; None if another does.

        Raises:
            InvalidInput: no session can be called so.
        """
        try:
            lock = take_lock(self._state_dir, session_id)
        except OSError as error:
            self._lock_problem = f"Sessions cannot be locked against other servers: {meaning(error)}"
            log.warning("%s", self._lock_problem)
            return SessionLock(session_id)
        if lock is not None:
            # From now on this process writes the session's rows, also where the disk fails.
            if record := self.session(session_id):
                self._live.setdefault(session_id, record)
            rows = self._database.read("SELECT max(id) FROM events WHERE session_id = ?", (session_id,))
            self._last_id = max(self._last_id, *(last or 0 for (last,) in rows))
        return lock

    def holder(self, session_id: str) -> int | None:
        """Process id of the server that drives a session; None if none does, 0 if it does not say."""
        return holder_of(self._state_dir, session_id)

    def prune(self, now_iso: str, max_age_days: float = 30, max_total_mb: float = 2048) -> None:
        """Remove sessions unused for longer than `max_age_days`, then the oldest until the rest is small enough.

        Never one that is live in this or another process. Waits for the disk: run it in a worker thread.
        """
        Pruning(self._database, self._state_dir, self._live).run(now_iso, max_age_days, max_total_mb)

    # Inside

    def _sessions(self, condition: str, *parameters: str, left_out: Sequence[str] = ()) -> list[SessionRecord]:
        columns = ("NULL" if column in left_out else column for column in SESSION_COLUMNS)
        query = f"SELECT {', '.join(columns)} FROM sessions {condition}"  # noqa: S608 (known columns)
        rows = {row[0]: row for row in self._database.read(query, parameters)}
        return [SessionRecord(*map(given_back, row)) for row in rows.values()]

    def _insert(self, event: EventRow, *, is_begun: bool) -> int:
        with self._minting:
            self._last_id = row_id = max(time.time_ns(), self._last_id + 1)
        texts, size = self._fitted(event.session_id, {name: getattr(event, name) for name in EVENT_TEXTS})
        event.id = row_id
        for name, text in texts.items():
            setattr(event, name, text)
        if is_begun:
            self._begun[row_id] = event
        self._database.write(lambda connection: insert_event(connection, event, size), size)
        return row_id

    def _fitted(self, session_id: str, texts: dict[str, str | None]) -> tuple[dict[str, Any], int]:
        if session_id not in self._text_bytes:
            rows = self._database.read("SELECT sum(text_bytes) FROM events WHERE session_id = ?", (session_id,))
            self._text_bytes[session_id] = sum(used or 0 for (used,) in rows)
        kept, size = fit(texts, self._text_bytes[session_id])
        self._text_bytes[session_id] += size
        return kept, size

    def _session_of(self, row_id: int) -> str | None:
        rows = self._database.read("SELECT session_id FROM events WHERE id = ?", (row_id,))
        return rows[-1][0] if rows else None

    def _forget(self, session_id: str) -> None:
        self._live.pop(session_id, None)
        self._text_bytes.pop(session_id, None)
        for row_id in [row_id for row_id, event in list(self._begun.items()) if event.session_id == session_id]:
            self._begun.pop(row_id, None)

    def _seed(self, connection: sqlite3.Connection) -> None:
        for record in list(self._live.values()):
            insert_session(connection, record)
        for event in list(self._begun.values()):
            insert_event(connection, event, 0)
