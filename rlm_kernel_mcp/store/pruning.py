"""Removing sessions that are too old, or too many for the disk.

Is: which sessions go, with the files of their snapshots, in small portions, so that no other process waits long. A
session that is live anywhere is never removed. Is not: when (`upkeep.py`). Above: `store.py`. Below:
`store/database/database.py`, `session_lock.py`, `paths.py`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Container
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.store.answers import prune_answers
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.file import explain_error
from rlm_kernel_mcp.store.paths import SNAPSHOTS, snapshot_files
from rlm_kernel_mcp.store.session_lock import SessionLock, sweep_locks, take_lock
from rlm_kernel_mcp.units import MB

DAY_S: Final = 86_400
MAX_AGE_DAYS: Final = 30
"""Sessions that nobody has used for so long are removed."""
# Small transactions: a server that wants to write waits for each of them.
_EVENTS_AT_ONCE: Final = 64
_PAGES_AT_ONCE: Final = 2_000
_AGES: Final = (
    "SELECT session_id, last_used_at, julianday(?) - julianday(last_used_at) AS age FROM sessions "
    "WHERE parent IS NULL OR parent NOT IN (SELECT session_id FROM sessions) ORDER BY age DESC NULLS LAST"
)
"""Of those that do not go with another one."""
_ABANDONED: Final = "SELECT session_id FROM sessions WHERE parent IS NOT NULL AND status != 'finalized'"
_END: Final = (
    "UPDATE sessions SET status = 'finalized', finish_reason = ?, extra = ?, row_check = NULL WHERE session_id = ?"
)
_SIZE: Final = (
    "SELECT (page_count - freelist_count) * page_size / 1048576.0 "
    "FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()"
)

ENDED: Final = "ended"
"""Why a child has finished that gave no answer; in its `extra`, the reason in words."""
ABANDONED: Final = "the server that had its parent has ended"

log = logging.getLogger(__name__)


class Pruning:
    """One run over a store that is on disk. `live`: the sessions of this process."""

    def __init__(self, database: Database, state_dir: Path, live: Container[str]) -> None:
        self._database = database
        self._state_dir = state_dir
        self._live = live

    def run(self, now_iso: str, max_age_days: float, max_total_mb: float) -> None:
        """Remove the sessions older than `max_age_days`, then the oldest until the rest is small enough."""
        ages = self._database.read(_AGES, (now_iso,))
        known = {session_id for (session_id,) in self._database.read("SELECT session_id FROM sessions")}
        self._end_abandoned()
        files_mb = sum(size for session_id, size in _all_files_mb(self._state_dir).items() if session_id in known)
        oldest_s = datetime.fromisoformat(now_iso).timestamp() - max_age_days * DAY_S
        self._remove_strays(known, oldest_s, max_total_mb - files_mb - self._one(_SIZE))
        for session_id, last_used_at, age in ages:
            if not self._database.is_on_disk:
                return
            if (age is not None and age > max_age_days) or self._one(_SIZE) + files_mb > max_total_mb:
                before_mb = _files_mb(self._state_dir, session_id)
                self._remove(session_id, last_used_at)
                files_mb -= before_mb - _files_mb(self._state_dir, session_id)
        prune_answers(self._database, now_iso, max_age_days)
        # In steps, since each one is a transaction that other processes wait for.
        while self._database.is_on_disk and (free := self._one("PRAGMA freelist_count")):
            self._do(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
            if self._one("PRAGMA freelist_count") >= free:  # a file that was made without that setting
                break
        try:
            sweep_locks(self._state_dir)
        except OSError as error:
            log.warning("lock files of ended servers stay: %s", explain_error(error))

    def forget(self, session_id: str) -> str:
        """Remove a session with its children and its files, also from what is left of a page; returns why it is not."""
        lock = None if session_id in self._live else self._lock(session_id)
        if lock is None:
            return "it is used again."
        try:
            self._do("PRAGMA secure_delete = ON")  # else what was there stays in pages that are free now,
            self._delete(session_id)
            self._do("PRAGMA wal_checkpoint(TRUNCATE)")  # and in the log
        finally:
            lock.release()
        if not self._database.is_on_disk:
            return self._database.problem or "the disk has not taken its removal."
        left = any(path.exists() for path in snapshot_files(self._state_dir, session_id))
        return "the files of its values cannot be removed." if left else ""

    def _remove(self, session_id: str, last_used_at: str) -> None:
        lock = None if session_id in self._live else self._lock(session_id)
        if lock is None:
            return
        try:
            # Somebody may have used it since the list was read.
            query = "SELECT count(*) FROM sessions WHERE session_id = ? AND last_used_at = ?"
            if self._one(query, session_id, last_used_at):
                self._delete(session_id)
        finally:
            lock.release()

    def _end_abandoned(self) -> None:
        """End the children that their server left behind: nobody waits for their answers any more."""
        for (session_id,) in self._database.read(_ABANDONED):
            if session_id in self._live or not self._database.is_on_disk or (lock := self._lock(session_id)) is None:
                continue
            try:
                self._do(_END, ENDED, json.dumps({ENDED: ABANDONED}), session_id)
                self._remove_files(session_id)
            finally:
                lock.release()

    def _remove_strays(self, known: Container[str], oldest_s: float, room_mb: float) -> None:
        """Remove snapshots of sessions that are in no store, once they are too old or too large.

        Not earlier: the store that knows them may have been damaged and set aside for somebody to repair.
        """
        if not self._database.is_on_disk:
            return
        found = {path.stem for path in (self._state_dir / SNAPSHOTS).glob("*.*")}
        strays = {one: _written_s(self._state_dir, one) for one in found if one not in known and one not in self._live}
        for session_id in sorted(strays, key=lambda one: strays[one], reverse=True):
            room_mb -= _files_mb(self._state_dir, session_id)
            if room_mb >= 0 and strays[session_id] >= oldest_s:
                continue
            # A session that is just being opened has its lock before it has a row.
            if lock := self._lock(session_id):
                try:
                    if not self._one("SELECT count(*) FROM sessions WHERE session_id = ?", session_id):
                        self._remove_files(session_id)
                finally:
                    lock.release()

    def _remove_files(self, session_id: str) -> None:
        try:
            for path in snapshot_files(self._state_dir, session_id):
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("snapshots of an ended session stay: %s", explain_error(error))

    def _lock(self, session_id: str) -> SessionLock | None:
        try:
            return take_lock(self._state_dir, session_id)
        except (OSError, InvalidInput) as error:
            log.warning("session %r cannot be locked, and so not removed: %s", session_id, error)
            return None

    def _delete(self, session_id: str) -> None:
        for (child,) in self._database.read("SELECT session_id FROM sessions WHERE parent = ?", (session_id,)):
            # One that is live somewhere is removed by a later run, as one without a parent.
            if child not in self._live and (lock := self._lock(child)) is not None:
                try:
                    self._delete(child)
                finally:
                    lock.release()
        self._do("DELETE FROM added_contexts WHERE session_id = ?", session_id)
        self._remove_files(session_id)
        for table in ("events", "subcalls", "answer_pages", "displays", "seen", "context_documents"):
            some = f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE session_id = ? LIMIT ?)"  # noqa: S608
            left = f"SELECT EXISTS (SELECT 1 FROM {table} WHERE session_id = ?)"  # noqa: S608 (our own names)
            while self._database.is_on_disk and self._one(left, session_id):
                self._do(some, session_id, _EVENTS_AT_ONCE)
        # Its own row goes last: a session that is only half removed is found again by the next run.
        for table in ("contexts", "sessions"):
            self._do(f"DELETE FROM {table} WHERE session_id = ?", session_id)  # noqa: S608 (our own names)

    def _do(self, statement: str, *parameters: Any) -> None:
        def do(connection: sqlite3.Connection) -> None:
            connection.execute(statement, parameters).fetchall()

        self._database.write(do)

    def _one(self, query: str, *parameters: Any) -> Any:
        rows = self._database.read(query, parameters)
        return rows[0][0] if rows else 0


def _all_files_mb(state_dir: Path) -> dict[str, float]:
    """What each session's snapshots take, from one look at their directory: this is asked every minute."""
    sizes: dict[str, float] = {}
    with contextlib.suppress(OSError), os.scandir(state_dir / SNAPSHOTS) as found:
        for entry in found:
            session_id = entry.name.partition(".")[0]
            with contextlib.suppress(OSError):  # removed meanwhile
                size_mb = entry.stat(follow_symlinks=False).st_size / MB
                sizes[session_id] = sizes.get(session_id, 0.0) + size_mb
    return sizes


def _files_mb(state_dir: Path, session_id: str) -> float:
    """What a session's snapshots take on the disk."""
    size = 0
    for path in snapshot_files(state_dir, session_id):
        with contextlib.suppress(OSError):  # most sessions have only some of them
            size += path.stat().st_size
    return size / MB


def _written_s(state_dir: Path, session_id: str) -> float:
    """When a session's snapshots were last written to, by the clock of the system."""
    newest = 0.0
    for path in snapshot_files(state_dir, session_id):
        with contextlib.suppress(OSError):
            newest = max(newest, path.stat().st_mtime)
    return newest
