"""Which sessions this server holds, by their handles, each with the lock that keeps other servers off it.

Is: a handle's session, from memory or opened again from its record; and its leaving, when its record has all that there
is to it. Is not: the calls (`registry.py`). Above: `registry.py`. Below: `reopening.py`, `store.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rlm_kernel_mcp.errors import SessionBusy, SessionNotFound
from rlm_kernel_mcp.session.cutting import safe_text
from rlm_kernel_mcp.session.journal import Journal
from rlm_kernel_mcp.session.opening import ContextSource, Prepared
from rlm_kernel_mcp.session.reopening import Surroundings, reopen
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.shapes import Limits
from rlm_kernel_mcp.session.store import SessionLock, SessionRecord


class Handles:
    """The sessions of one server that are in memory."""

    def __init__(self, shared: Surroundings) -> None:
        self._shared = shared
        self._store = shared.store
        self.sessions: dict[str, Session] = {}
        self._locks: dict[str, SessionLock | None] = {}

    def add(self, session_id: str, source: ContextSource, prepared: Prepared, limits: Limits) -> Session:
        """Make the session of a kernel that has its context, and write it down."""
        context, journal = prepared.context, Journal(self._store, session_id)
        reference: dict[str, object] = {"inline": True}
        if source.paths is not None:
            reference = {"paths": source.paths, "working_dir": str(self._shared.settings.working_dir)}
        record = SessionRecord(
            session_id=session_id,
            created_at=journal.now(),
            kind=context.kind,
            status="idle",
            limits=json.dumps(asdict(limits)),
            context=json.dumps(asdict(context)),
            context_ref=json.dumps(reference),
            walls=json.dumps([asdict(wall) for wall in prepared.walls]),
            server_pid=os.getpid(),
        )
        self._locks[session_id] = self._store.acquire(session_id)
        self._store.add_session(record)
        session = reopen(record, self._shared)
        session.life.adopt(prepared.kernel)
        self.sessions[session_id] = session
        journal.opened(context, prepared.walls, prepared.duration_ms, session.account)
        return session

    @contextmanager
    def in_use(self, session_id: str) -> Iterator[Session]:
        """A session for one call: it stays as long as the call does. Raises: as `get`."""
        session = self.get(session_id)
        session.calls += 1
        try:
            yield session
        finally:
            session.calls -= 1

    def get(self, session_id: str) -> Session:
        """A session by its handle; one that this server does not have is opened again from its record.

        One that has its final answer is there for this look only, without its text: neither it nor a lock is held.

        Raises:
            SessionNotFound: nobody has it.
            SessionBusy: another server drives it.
        """
        return self.sessions.get(session_id) or self._reopened(session_id)

    def _reopened(self, session_id: str) -> Session:
        record = self._store.session(session_id, whole=False)
        if record is None:
            raise self.not_found(session_id)
        if record.status == "finalized":
            return reopen(record, self._shared)
        lock = self._store.acquire(session_id)
        if lock is None:
            holder = self._store.holder(session_id) or 0
            raise SessionBusy(
                f"Session {session_id} is driven by another server process (pid {holder}).",
                "Use it there, or call rlm_init_context for a session of your own; rlm_get_trace works from here too.",
            )
        self._locks[session_id] = lock
        try:
            # Again, under the lock: the server that had it until now may have written since.
            session = reopen(self._store.session(session_id, whole=False) or record, self._shared)
        except BaseException:
            self.give_back(session_id)
            raise
        if session.finalized:
            self.give_back(session_id)
            return session
        self.sessions[session_id] = session
        self._store.update_session(session_id, server_pid=os.getpid())
        return session

    def let_go(self, session: Session) -> None:
        """Forget a session whose record has all there is to it: any server can open it again from there."""
        if self.sessions.get(session.session_id) is session:
            del self.sessions[session.session_id]
            self.give_back(session.session_id)

    def give_back(self, session_id: str) -> None:
        """Let other servers have a session."""
        self._store.let_go(session_id)
        lock = self._locks.pop(session_id, None)
        if lock is not None:
            lock.release()

    def give_all_back(self) -> None:
        """The server ends."""
        for session_id in list(self._locks):
            self.give_back(session_id)

    def not_found(self, session_id: str) -> SessionNotFound:
        """What is said of a handle that nobody has."""
        live = list(self.sessions)[-5:]
        known = f"live sessions: {', '.join(live)}" if live else "this server has no live session"
        return SessionNotFound(f"There is no session {safe_text(session_id)!r}; {known}.")
