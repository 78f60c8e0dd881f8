"""Which sessions this server holds, by their handles, each with the lock that keeps other servers off it.

Is: a handle's session, made for a kernel, from memory or opened again from its record; and letting it go once its
record has all that there is to it. Is not: the calls (`registry.py`), or how a kernel gets its context (`opening.py`).
Above: `registry.py`. Below: `reopening.py`, `store/store.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.errors import RlmError, SessionBusy, SessionNotFound
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.callers.elsewhere import Elsewhere, Held, NobodyAsked, driven_elsewhere
from rlm_kernel_mcp.session.calls.acknowledging import progress_of
from rlm_kernel_mcp.session.carrying.moving import Moves, require_laid_down
from rlm_kernel_mcp.session.contexts.contexts import ContextList
from rlm_kernel_mcp.session.contexts.source import ContextSource, put_text
from rlm_kernel_mcp.session.functions.offered import recorded
from rlm_kernel_mcp.session.idle_watch import lay_down
from rlm_kernel_mcp.session.opening import Prepared
from rlm_kernel_mcp.session.reopening import ServerResources, reopen
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.session.watching.telling import Telling
from rlm_kernel_mcp.shielded import made_in_thread, shielded
from rlm_kernel_mcp.store.store import ENDED_STATUSES, SessionLock, SessionRecord
from rlm_kernel_mcp.text.safe_text import safe_text

REOPEN_S: Final = 30.0
"""How long a call waits for a session's record and its lock."""
TRIES: Final = 3
"""How often a session is looked for that others take up just before, or ask for just after."""

log = logging.getLogger(__name__)


class Handles:
    """The sessions of one server that are in memory."""

    def __init__(self, shared: ServerResources) -> None:
        self._shared = shared
        self._store, self._writer, self._durable = shared.store, shared.writer, shared.durable
        self.sessions: dict[str, Session] = {}
        shared.feeds.include(self._telling_of)
        self._locks: dict[str, Held] = {}
        self.opened_by: dict[str, Caller] = {}
        """Who opened each session, or brought it back from its record; once that connection has ended, who used it."""
        self.elsewhere: Elsewhere = NobodyAsked()
        self.moves = Moves(shared, self.sessions, self.let_go)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """A lock for each session that is being opened again, so that only one call does it."""

    async def open(
        self,
        session_id: str,
        source: ContextSource,
        prepared: Prepared,
        limits: Guardrails,
        caller: Caller,
    ) -> Session:
        """The session of a kernel, written down, or nothing of it."""
        written: list[asyncio.Future[None]] = []
        try:
            session, row = await self._add(session_id, prepared, limits, caller)
            written.append(row)
            await self._shared.slots.acquire(session_id, session)
            if (text := source.text) is not None:
                # A large one takes a while; only then is there something that another server could open.
                written.append(self._writer.made(session_id, partial(put_text, self._store, session_id, text)))
            if prepared.reading is not None:
                session.contexts.begin(session.contexts.contexts.first, source, prepared.reading)
            await self._writer.settled(session_id)
            done, _ = await asyncio.wait(written, timeout=0)  # a turn of the loop: it may not know of their ends yet
            for one in done:  # of others the disk does not answer, which the next step is told
                one.result()
            if self._durable is not None:
                await self._durable.opened(progress_of(session))
        except BaseException:  # it failed, or the call was cut off: nobody will ever ask for this session
            await shielded(self._undo(session_id, prepared, written), f"the undoing of {session_id}")
            raise
        return session

    async def _add(
        self, session_id: str, prepared: Prepared, limits: Guardrails, caller: Caller
    ) -> tuple[Session, asyncio.Future[None]]:
        """Make the session of a kernel that has its context, and have it recorded, without waiting for a disk.

        `caller`: who opened it.

        Returns:
            The session, and its lock and first row, done when both are there; it raises what kept them from it.
        """
        contexts = ContextList(session_id, self._shared.means, self._store, [prepared.context], caller.roots)
        record = SessionRecord(
            session_id=session_id,
            created_at=Journal.now(),
            kind=prepared.context.source.kind,
            status="idle",
            limits=json.dumps(limits.recorded()),
            context=json.dumps(contexts.first_row()),
            context_ref=json.dumps(contexts.reference(list(prepared.namespace)) | recorded(prepared.functions)),
            walls=json.dumps([asdict(wall) for wall in prepared.walls]),
            server_pid=os.getpid(),
            question=prepared.question,
            client=caller.client or None,
        )
        session, written = self.enter(record, caller)
        session.kernel.adopt(prepared.kernel)
        first = session.contexts.contexts.first
        first.take_over(prepared.context)
        session.contexts.contexts.hash_later(first, prepared.unhashed)
        session.journal.opened(session.contexts.report(first), prepared.walls, prepared.duration_ms, session.account)
        return session, written

    def enter(self, record: SessionRecord, caller: Caller) -> tuple[Session, asyncio.Future[None]]:
        """The session of a new record, and its lock and first row, as `_add`."""
        own_id = record.session_id
        self.opened_by[own_id], held = caller, Held()
        self._locks[own_id] = held

        def write_down() -> None:  # in the session's own order: the lock is released after its last row is written
            held.take(self._store.acquire(own_id, is_new=True))
            self._store.add_session(record)

        written = self._writer.made(own_id, write_down)
        session = self.sessions[own_id] = reopen(record, self._shared, is_new=True)
        session.owner = caller.slot_owner
        return session, written

    async def _undo(self, session_id: str, prepared: Prepared, written: Iterable[asyncio.Future[None]]) -> None:
        """Remove all traces of a session that could not be made. `written`: what is on its way into the store."""
        if session := self.sessions.pop(session_id, None):  # from now on nobody finds it
            session.contexts.cancel()
        else:
            prepared.discard()
        await prepared.kernel.kill("its session could not be made")
        self._shared.slots.release(session_id)
        await asyncio.gather(*written, return_exceptions=True)
        self._writer.do(session_id, lambda: self._store.remove_session(session_id))
        self.give_back(session_id)
        await self._writer.settled(session_id)

    @asynccontextmanager
    async def in_use(self, session_id: str, caller: Caller) -> AsyncIterator[Session]:
        """A session for one call: it stays as long as the call does. Raises: as `get`."""
        session = await self._got(session_id, caller.roots)
        if session_id in self.sessions:
            known = self.opened_by.get(session_id)
            if known is None or not known.is_connected:
                self.opened_by[session_id], session.owner = caller, caller.slot_owner
        session.calls += 1
        try:
            yield session
        except RlmError as error:
            session.limits.refused(error)
            raise
        finally:
            session.calls -= 1

    def _telling_of(self, session_id: str) -> Telling | None:
        session = self.sessions.get(session_id)
        return None if session is None else session.journal.telling

    def has(self, session_id: str) -> bool:
        """Whether a session is in memory, or just being opened again from its record."""
        return session_id in self.sessions or session_id in self._turns

    async def _got(self, session_id: str, roots: Roots) -> Session:
        """As `get`; a session that another process has had since it was opened again is not the one to be used."""
        for _ in range(TRIES):
            session = await self.get(session_id, roots)
            if session.finalized or self.sessions.get(session_id) is session:
                return session
        raise driven_elsewhere(session_id, self._store.holder(session_id) or 0)

    async def get(self, session_id: str, roots: Roots) -> Session:
        """A session by its handle; one that this server does not have is opened again from its record.

        A session with a final answer is returned for this one use, without the text: neither it nor a lock is kept.
        `roots`: those of who asks, for a record that names none, as it was before records did.

        Raises:
            SessionNotFound: nobody has it.
            SessionBusy: another server drives it, or the disk does not answer.
        """
        if session := self.sessions.get(session_id):
            return session
        if self._durable is not None:
            self._durable.require(session_id)
        try:
            again = self._opened_again(session_id, roots)
            return await shielded(again, f"the reopening of {session_id}", within_s=REOPEN_S)
        except TimeoutError:
            raise SessionBusy(
                f"The record of session {session_id} could not be read within {REOPEN_S:.0f} s: the disk of the "
                "session store does not answer.",
                "Call the tool again later; if it fails again, tell the user to check the disk of RLM_STATE_DIR.",
            ) from None

    async def _opened_again(self, session_id: str, roots: Roots) -> Session:
        async with self._turns.setdefault(session_id, asyncio.Lock()):
            if session := self.sessions.get(session_id):
                return session
            holder = 0
            for _ in range(TRIES):
                await self._writer.settled(session_id)  # this server itself may have let it go just now
                reading = partial(self._read_again, session_id, roots)
                read, lock = await made_in_thread(reading, lambda found: self._let_go(session_id, found[1]))
                if isinstance(read, Session):
                    if lock is not None:
                        self._take(read, lock)
                    return read
                holder = read
                await self.elsewhere.ask(session_id, holder)
            raise driven_elsewhere(session_id, holder)

    def _take(self, session: Session, lock: SessionLock) -> None:
        own_id = session.session_id
        self.sessions[own_id], self._locks[own_id] = session, Held(lock)
        self._writer.do(own_id, lambda: self._store.update_session(own_id, server_pid=os.getpid()))

    def _read_again(self, session_id: str, roots: Roots) -> tuple[Session | int, SessionLock | None]:
        """A session from its record, or who has it; and the lock of one that has no final answer yet. In a thread."""
        record = self._store.session(session_id, whole=False)
        if record is None:
            raise self.not_found(session_id)
        if record.status == "finalized":
            return reopen(record, self._shared, roots), None
        lock = self._store.acquire(session_id)
        if lock is None:
            return self._store.holder(session_id) or 0, None
        try:
            # Again, under the lock: the server that had it until now may have written since.
            session = reopen(self._store.session(session_id, whole=False) or record, self._shared, roots)
        except BaseException:
            self._let_go(session_id, lock)
            raise
        if session.finalized:
            self._let_go(session_id, lock)
            return session, None
        return session, lock

    async def hand_over(self, session_id: str, to: str) -> None:
        """Let another process have a session, with all its values; `to`: why. Raises: SessionBusy: it is used."""
        if session := self.sessions.get(session_id):
            await lay_down(session, to)
            if self._durable is not None:
                await self._durable.released(progress_of(session))
                require_laid_down(session)
            self.let_go(session)
        elif session_id in self._turns:
            raise SessionBusy(f"Session {session_id} is just being opened there.", "Call the tool again.")
        await self.settled(session_id)

    async def settled(self, session_id: str) -> None:
        """Return when the record has all of a session; of one that was let go, when others may have it."""
        await self._writer.settled(session_id)

    def let_go(self, session: Session) -> None:
        """Forget a session whose record has all there is to it: any server can open it again from there."""
        if self.sessions.get(session.session_id) is session:
            del self.sessions[session.session_id]
            self.give_back(session.session_id)

    def give_back(self, session_id: str) -> None:
        """Let other servers have a session, as soon as its record is written."""
        held = self._locks.pop(session_id, None) or Held()
        self.opened_by.pop(session_id, None)
        self._shared.spans.left(session_id)
        self._writer.do(session_id, lambda: self._let_go(session_id, held.lock))

    def _let_go(self, session_id: str, lock: SessionLock | None) -> None:
        self._store.let_go(session_id)
        if lock is not None:
            lock.release()

    def give_all_back(self) -> None:
        """The server ends."""
        for session_id in list(self._locks):
            self.give_back(session_id)

    def not_found(self, session_id: str) -> SessionNotFound:
        """What is said of a handle that nobody has."""
        live = [one for one, session in self.sessions.items() if session.status not in ENDED_STATUSES][-5:]
        known = f"live sessions of this server: {', '.join(live)}" if live else "this server drives no live session"
        return SessionNotFound(f"There is no session {safe_text(session_id)!r}; {known}.")
