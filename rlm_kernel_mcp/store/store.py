"""What survives a restart: sessions, their events with all output, and contexts given inline.

Is: one SQLite file below RLM_STATE_DIR that several servers share, and a lock for each session. Is not: the meaning of
the rows (`session/trace/journal.py`), nor the session's values (`session/snapshots/file.py`). Above:
`session/registry.py`, the journal. Below: `store/database/database.py`, `session_lock.py`, `text_budget.py`.

Its methods wait for the disk: an event loop writes through `writer.py`. A bad disk never raises: see `problem`.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.store.answers import Days
from rlm_kernel_mcp.store.database.damage import CHECKED_AT_OPEN_BYTES
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.file import explain_error
from rlm_kernel_mcp.store.database.memory import Operation
from rlm_kernel_mcp.store.database.records import (
    EVENT_CHECKS,
    EVENT_COLUMNS,
    EVENT_TEXTS,
    LAST_ID,
    EventHead,
    EventRow,
    SessionKey,
    SessionRecord,
    changed_event,
    changed_session,
    delete_session,
    event_checks,
    head_checks,
    insert_event,
    insert_session,
    put_context,
    update_event,
    update_session,
    without_texts,
)
from rlm_kernel_mcp.store.database.rows import Rows
from rlm_kernel_mcp.store.database.schema import nothing, together
from rlm_kernel_mcp.store.long_answers import PagedText
from rlm_kernel_mcp.store.pruning import MAX_AGE_DAYS, Pruning
from rlm_kernel_mcp.store.reading import Reading
from rlm_kernel_mcp.store.session_lock import SessionLock, holder_of, take_lock
from rlm_kernel_mcp.store.text_budget import cut_to_bytes, fit, size_of

__all__ = ["EventHead", "EventRow", "Rows", "SessionKey", "SessionLock", "SessionRecord", "Store"]

PROGRESS_BYTES: Final = 64 << 10
"""Bytes kept of each text of a step that is still running."""
ENDED_STATUSES: Final = ("finalized", "dead")
"""In such a session nothing can be run any more. The others come back on use, in any server."""

Fields = dict[str, Any]
"""Values by column."""

log = logging.getLogger(__name__)


class Store(Reading):
    """The record of all sessions of one user."""

    def __init__(self, state_dir: Path, database: Database | None = None) -> None:
        self._state_dir = state_dir
        self._last_id = 0
        self._minting = threading.Lock()
        self._live: dict[str, SessionRecord] = {}
        self._begun: dict[int, EventRow] = {}
        self._completing: set[int] = set()
        self._newest: dict[str, tuple[EventRow, int]] = {}
        """The last event of a session that was completed here, without its texts, and their size."""
        self._text_bytes: dict[str, int] = {}
        self._lock_problem: str | None = None
        self._days = Days()
        super().__init__(database or Database(state_dir, self._seed), self._days)

    @classmethod
    def open(cls, state_dir: Path) -> Store:
        """The store below `state_dir`, which is made if it is missing. Never raises: see `problem`."""
        return cls(state_dir)

    @property
    def problem(self) -> str | None:
        """What is wrong with the disk, and how to fix it; None if all is well."""
        return self._database.problem or self._lock_problem

    def close(self) -> None:
        """Close the file. Locks are their holders' to release."""
        self._database.close()

    def at_once(self, write: Callable[[], object]) -> bool:
        """Call one of the methods below unless it would wait for another thread or process; whether it was called."""
        return self._database.at_once(write)

    # Sessions

    def add_session(self, record: SessionRecord) -> None:
        """Write a new session's row."""
        record = self._live[record.session_id] = replace(record, last_used_at=record.last_used_at or record.created_at)
        self._text_bytes.setdefault(record.session_id, 0)
        self._database.write(lambda connection: insert_session(connection, record))

    def update_session(self, session_id: str, **changes: Any) -> None:
        """Set some fields of a session's row; without such a row nothing happens."""
        self._write(nothing, 0, session_id, changes)

    def remove_session(self, session_id: str) -> None:
        """Remove every row of a session that came to nothing."""
        self._forget(session_id)
        self._database.write(partial(delete_session, session_id=session_id))

    def let_go(self, session_id: str) -> None:
        """Keep nothing of a session in memory any more: from now on this process does not drive it."""
        self._forget(session_id)

    # Events

    def mint(self) -> int:
        """The id of an event that is about to be written: larger than every earlier one's."""
        with self._minting:
            self._last_id = max(time.time_ns(), self._last_id + 1)
            return self._last_id

    # `session`: fields of the session's row that are set in the same transaction; `also`: what else it does.

    def begin_event(self, event: EventRow, session: Fields | None = None) -> int:
        """Write an event's row before it happens, as `unknown`; returns its id, for `complete_event`."""
        event.result_status = "unknown"
        return self._insert(event, is_begun=True, session=session)

    def add_event(self, event: EventRow) -> int:
        """Write an event that is whole already; returns its id."""
        return self._insert(event, is_begun=False)

    def add_final(self, event: EventRow, answer: str | PagedText) -> int:
        """Write the event of a final answer, whose text is only in the session's row, or in pages."""
        return self._insert(event, is_begun=False, answer=answer)

    def complete_event(
        self, row_id: int, session: Fields | None = None, of: str = "", also: Operation = nothing, **changes: Any
    ) -> None:
        """Set some fields of an event's row (`of` a session). Texts beyond the store's room keep head and tail."""
        begun = self._begun.get(row_id)
        if (session_id := of or (begun.session_id if begun else self._session_of(row_id))) is None:
            return
        texts, size = self._fitted(session_id, {name: changes[name] for name in EVENT_TEXTS if name in changes})
        size += size_of((begun and begun.code) or "")
        changes |= texts | {"text_bytes": size, "row_check": None, "text_check": None}
        if begun is not None and changes.keys() <= set(EVENT_COLUMNS) | set(EVENT_CHECKS):
            whole = changed_event(begun, {name: changes[name] for name in changes if name not in EVENT_CHECKS})
            changes |= event_checks(whole, size)
            self._newest[session_id] = without_texts(whole), size
        self._completing.add(row_id)
        try:
            update = partial(update_event, session_id=session_id, row_id=row_id, changes=changes)
            self._write(together(update, also), size, session_id, session)
        finally:
            self._begun.pop(row_id, None)
            self._completing.discard(row_id)

    def note_progress(self, row_id: int, duration_ms: int, stdout: str, stderr: str, **more: str | None) -> None:
        """Write what a running event has printed so far: head and tail of each text, for readers outside."""
        begun = self._begun.get(row_id)
        if begun is None:
            return
        changes: dict[str, Any] = {"duration_ms": duration_ms, **more}
        for name, text in (("stdout", stdout), ("stderr", stderr)):
            changes[name] = cut_to_bytes(text, PROGRESS_BYTES)
        so_far = replace(begun, **changes)
        size = sum(size_of(text) for text in (so_far.code, so_far.stdout, so_far.stderr) if text)
        changes |= event_checks(so_far, size)

        def note(connection: sqlite3.Connection) -> None:
            if row_id in self._begun and row_id not in self._completing:  # asked under the database's lock
                update_event(connection, begun.session_id, row_id, changes)

        self._database.write(note, size)

    def amend_event(self, session_id: str, row_id: int, session: Fields | None = None, **changes: Any) -> None:
        """Set some fields, no texts, of the row of an event that is complete."""
        event, size = self._newest.get(session_id, (None, 0))
        checks: dict[str, Any] = {"row_check": None}
        if event is not None and event.id == row_id:
            for name, value in changes.items():
                setattr(event, name, value)
            checks = head_checks(event, size)
        update = partial(update_event, session_id=session_id, row_id=row_id, changes=changes | checks)
        self._write(update, 0, session_id, session)

    # What a fresh kernel needs

    def put_context(self, session_id: str, data: bytes | None, name: str = "") -> None:
        """Keep the bytes of a context that was given inline; None: forget them. `name`: the first one has none."""
        self._database.write(lambda connection: put_context(connection, session_id, data, name), len(data or b""))

    # Over several processes

    def acquire(self, session_id: str, *, is_new: bool = False) -> SessionLock | None:
        """Make this process the only one that drives a session; None if another one does. `is_new`: it has no rows yet.

        Raises:
            InvalidInput: no session can have this id.
        """
        try:
            lock = take_lock(self._state_dir, session_id)
        except OSError as error:
            self._lock_problem = f"Sessions cannot be locked against other servers: {explain_error(error)}"
            log.warning("%s", self._lock_problem)
            return SessionLock(session_id)
        if lock is not None and not is_new:
            # From now on this process writes the session's rows, to memory where the disk fails.
            with suppress(SessionNotFound):  # damaged: whoever asks for the session itself hears of it
                if record := self.session(session_id):
                    self._live.setdefault(session_id, record)
            rows = self._database.read(LAST_ID, (session_id,))
            with self._minting:
                self._last_id = max(self._last_id, *(last or 0 for (last,) in rows))
        return lock

    def holder(self, session_id: str) -> int | None:
        """Process id of the server that drives a session; None if none does, 0 if the lock does not say which."""
        return holder_of(self._state_dir, session_id)

    def look_through(self) -> None:
        """Set a damaged file aside that was too large to be looked through when it was opened. Takes a while."""
        self._database.check(above_bytes=CHECKED_AT_OPEN_BYTES)

    def prune(self, now_iso: str, max_age_days: float = MAX_AGE_DAYS, max_total_mb: float = 2048) -> None:
        """Remove sessions unused for longer than `max_age_days`, then the oldest until the rest is small enough.

        Never one that is live in this or another process. Waits for the disk: run it in a worker thread.
        """
        Pruning(self._database, self._state_dir, self._live).run(now_iso, max_age_days, max_total_mb)

    def forget(self, session_id: str) -> str:
        """Remove a session and all that it left; returns why that is not done. Waits for the disk, as `prune`."""
        return Pruning(self._database, self._state_dir, self._live).forget(session_id)

    # Inside

    def _write(self, operation: Operation, size_bytes: int, session_id: str, fields: Fields | None) -> None:
        """Do `operation`, and set some fields of a session's row with it."""
        if fields is None:
            self._database.write(operation, size_bytes)
            return
        changed, columns = changed_session(self._live.get(session_id), fields)
        update = partial(update_session, session_id=session_id, changes=columns)
        self._database.write(together(update, operation), size_bytes)
        if changed is not None:
            self._live[session_id] = changed
        if fields.get("status") in ENDED_STATUSES:
            self._forget(session_id)

    def _insert(
        self, event: EventRow, *, is_begun: bool, answer: str | PagedText | None = None, session: Fields | None = None
    ) -> int:
        row_id = event.id or self.mint()
        texts, size = self._fitted(event.session_id, {name: getattr(event, name) for name in EVENT_TEXTS})
        event.id = row_id
        for name, text in texts.items():
            setattr(event, name, text)
        if is_begun:
            self._begun[row_id] = event
        size += answer.size_bytes if isinstance(answer, PagedText) else size_of(answer or "")
        insert = partial(insert_event, event=event, text_bytes=size, answer=answer if isinstance(answer, str) else None)
        self._write(insert, size, event.session_id, session)
        return row_id

    def _fitted(self, session_id: str, texts: dict[str, str | None]) -> tuple[dict[str, Any], int]:
        if session_id not in self._text_bytes:
            self._text_bytes[session_id] = self._text_bytes_of(session_id)
        kept, size = fit(texts, self._text_bytes[session_id])
        self._text_bytes[session_id] += size
        return kept, size

    def _forget(self, session_id: str) -> None:
        self._live.pop(session_id, None)
        self.seen.let_go(session_id)
        self._text_bytes.pop(session_id, None)
        self._newest.pop(session_id, None)
        for row_id in [row_id for row_id, event in list(self._begun.items()) if event.session_id == session_id]:
            self._begun.pop(row_id, None)

    def _seed(self, connection: sqlite3.Connection) -> None:
        self._days.seed(connection)
        for record in list(self._live.values()):
            insert_session(connection, record)
        for event in list(self._begun.values()):
            insert_event(connection, event, 0)
