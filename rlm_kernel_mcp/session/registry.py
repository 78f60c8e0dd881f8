"""Handles to sessions: what the MCP tools call.

Is: open, look up, list, finalize, close; who owns the run folder, the kernels and the store. Is not: MCP, and nothing
here is tied to a connection: a session belongs to its handle. Above: `server/`. Below: `session.py`, `opening.py`,
`finish.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput, SessionBusy, SessionNotFound
from rlm_kernel_mcp.kernel.launch import KernelStarter
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.kernel.rundir import RunDir
from rlm_kernel_mcp.session import console, finish, listing, shapes, trace
from rlm_kernel_mcp.session.cutting import safe_text
from rlm_kernel_mcp.session.journal import Journal
from rlm_kernel_mcp.session.opening import ContextSource, Prepared, namespace_of, prepare
from rlm_kernel_mcp.session.places import Places
from rlm_kernel_mcp.session.reopening import Surroundings, reopen
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.store import SessionLock, SessionRecord, Store
from rlm_kernel_mcp.settings import Settings

log = logging.getLogger(__name__)
ID_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
ID_CHARS: Final = 8
IDLE_CHECK_S: Final = 1.0
INTERRUPT_OUTPUT_CHARS: Final = 8_000


class Registry:
    """Every session of one server process."""

    def __init__(self, settings: Settings, run_dir: RunDir, starter: KernelStarter, store: Store) -> None:
        self.settings = settings
        self.store = store
        self._run_dir = run_dir
        self._starter = starter
        self._pool = KernelPool(starter)
        self._places = Places(settings.max_sessions)
        self._shared = Surroundings(settings, starter.policy, self._pool, self._places, store)
        self._sessions: dict[str, Session] = {}
        self._locks: dict[str, SessionLock | None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    @classmethod
    async def open(cls, settings: Settings) -> Registry:
        """Open the store and the run folder, and warm the first kernel in the background.

        Raises:
            KernelStartFailed.
        """
        with ExitStack() as undo:  # whatever fails, or cuts this off: the folder and the file are given back
            run_dir = await RunDir.create_in_thread(ask_engines=settings.sandbox_mode == "container")
            undo.callback(run_dir.remove)
            starter = KernelStarter(settings, run_dir)
            store = Store.open(settings.state_dir)
            undo.callback(store.close)
            if store.problem:
                log.warning("%s", store.problem)
            registry = cls(settings, run_dir, starter, store)
            undo.pop_all()
        registry._pool.warm()
        registry._tasks = [
            asyncio.create_task(registry._watch_idle(), name="idle watch"),
            asyncio.create_task(asyncio.to_thread(store.prune, Journal.now()), name="pruning"),
        ]
        return registry

    async def init_context(
        self, *, context_text: str | None, context_paths: Sequence[str] | None, limits: shapes.Limits
    ) -> shapes.Opened:
        """Open a session: a kernel of its own with the context in it.

        Raises:
            ContextNotFound, ContextDenied, ContextTooLarge, InvalidInput, KernelStartFailed, SandboxUnavailable.
        """
        source = ContextSource(context_text, tuple(context_paths) if context_paths is not None else None)
        session_id = "s_" + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_CHARS))
        await self._places.take(session_id)
        try:
            prepared = await prepare(source, self.settings, self._pool)
        except BaseException:
            self._places.release(session_id)
            raise
        try:
            session = self._new_session(session_id, source, prepared, limits)
            await self._places.take(session_id, session)
            if context_text is not None:
                # A large one takes a while; only then is there something that another server could open.
                data = context_text.encode("utf-8", "surrogatepass")
                await asyncio.to_thread(self.store.put_context, session_id, data)
        except BaseException:  # it failed, or the call was cut off: nobody will ever ask for this session
            await self._undo(session_id, prepared)
            raise
        return shapes.Opened(
            session_id=session.session_id,
            config=limits,
            counters=session.counters,
            context=prepared.context,
            namespace=namespace_of(prepared.walls),
            imports=prepared.imports,
            walls=prepared.walls,
        )

    def _new_session(
        self, session_id: str, source: ContextSource, prepared: Prepared, limits: shapes.Limits
    ) -> Session:
        context, journal = prepared.context, Journal(self.store, session_id)
        reference: dict[str, object] = {"inline": True}
        if source.paths is not None:
            working_dir = str(self.settings.working_dir)
            reference = {"paths": source.paths, "working_dir": working_dir}
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
        self._locks[session_id] = self.store.acquire(session_id)
        self.store.add_session(record)
        session = reopen(record, self._shared)
        session.life.adopt(prepared.kernel)
        self._sessions[session_id] = session
        journal.opened(context, prepared.walls, prepared.duration_ms, session.account)
        return session

    async def _undo(self, session_id: str, prepared: Prepared) -> None:
        """Leave nothing of a session that could not be made."""
        self._sessions.pop(session_id, None)
        self._places.release(session_id)
        lock = self._locks.pop(session_id, None)
        if lock is not None:
            lock.release()
        await prepared.kernel.kill("its session could not be made")
        self.store.update_session(session_id, status="dead")

    async def run_repl(
        self, session_id: str, code: str, *, timeout_ms: int | None, wait_ms: int, max_output_chars: int
    ) -> shapes.StepReport:
        """Run a step. Raises: SessionNotFound, SessionFinalized, SessionBusy, KernelDied."""
        session = self._session(session_id)
        timeout = session.account.limits.step_timeout_ms if timeout_ms is None else timeout_ms
        return await session.run(code, timeout_ms=timeout, wait_ms=wait_ms, max_output_chars=max_output_chars)

    async def await_step(
        self, session_id: str, step_index: int, *, wait_ms: int, max_output_chars: int
    ) -> shapes.StepReport:
        """Wait for a step. Raises: SessionNotFound, InvalidInput."""
        session = self._session(session_id)
        return await session.await_step(step_index, wait_ms=wait_ms, max_output_chars=max_output_chars)

    async def interrupt(self, session_id: str) -> shapes.StepReport:
        """Stop the running step. Raises: SessionNotFound."""
        session = self._session(session_id)
        report = await session.interrupt(INTERRUPT_OUTPUT_CHARS)
        if report is not None:
            return report
        return shapes.StepReport(
            status="ok",
            step_index=session.counters.step_index,
            duration_ms=0,
            budget=session.account.left,
            guardrail_stop=session.account.stop,
            note="No step was running; nothing was interrupted.",
        )

    async def get_var(self, session_id: str, var_name: str, *, offset: int, limit: int) -> shapes.VariableSlice:
        """Read a variable. Raises: SessionNotFound, SessionFinalized, VariableNotFound, KernelDied."""
        return await self._session(session_id).get_var(var_name, offset, limit)

    async def finalize(
        self, session_id: str, *, final_text: str | None, final_var_name: str | None, max_output_chars: int
    ) -> shapes.Final:
        """Take the final answer.

        Raises:
            SessionNotFound, SessionFinalized, SessionBusy, VariableNotFound, KernelDied.
        """
        session = self._session(session_id)
        answer = await finish.finalize(session, final_text, final_var_name, max_output_chars)
        self._let_go(session)
        return answer

    async def get_trace(
        self,
        session_id: str,
        *,
        from_step: int | None,
        to_step: int | None,
        detail: str,
        max_output_chars: int,
        offset: int,
    ) -> shapes.TracePage:
        """A page of the trace. Raises: SessionNotFound, InvalidInput."""
        if from_step is not None and to_step is not None and from_step > to_step:
            raise InvalidInput(f"from_step={from_step} lies after to_step={to_step}.")
        session = self._sessions.get(session_id)
        if session is not None:
            await console.note_missed_cells(session)
        elif self.store.session(session_id) is None:
            raise self._not_found(session_id)
        rows = self.store.events(session_id, from_step, to_step, texts=detail == "full")
        if session is not None and session.running:
            rows = trace.marked_running(rows, session.counters.step_index)
        return trace.page(
            rows, detail="full" if detail == "full" else "summary", max_output_chars=max_output_chars, offset=offset
        )

    async def list_sessions(self, *, state: listing.State = "live", limit: int = 20) -> shapes.SessionList:
        """This server's sessions and those of others, the last used first."""
        return await listing.listed(self.store, self._sessions, state, limit)

    def _session(self, session_id: str) -> Session:
        """A session by its handle; one that this server does not have is opened again from its record.

        Raises:
            SessionNotFound: nobody has it.
            SessionBusy: another server drives it.
        """
        session = self._sessions.get(session_id)
        if session is not None:
            return session
        record = self.store.session(session_id)
        if record is None:
            raise self._not_found(session_id)
        lock = self.store.acquire(session_id)
        if lock is None:
            raise SessionBusy(
                f"Session {session_id} is driven by another server process (pid {self.store.holder(session_id) or 0}).",
                "Use it there, or call rlm_init_context for a session of your own; rlm_get_trace works from here too.",
            )
        session = reopen(record, self._shared)
        self._locks[session_id], self._sessions[session_id] = lock, session
        self.store.update_session(session_id, server_pid=os.getpid())
        return session

    def _let_go(self, session: Session) -> None:
        """Forget a session that has its final answer: any server can open it again from its record."""
        if self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]
            lock = self._locks.pop(session.session_id)
            if lock is not None:
                lock.release()

    def _not_found(self, session_id: str) -> SessionNotFound:
        live = list(self._sessions)[-5:]
        known = f"live sessions: {', '.join(live)}" if live else "this server has no live session"
        return SessionNotFound(f"There is no session {safe_text(session_id)!r}; {known}.")

    async def _watch_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK_S)
            sessions = list(self._sessions.values())
            looks = (session.watch_idle(self.settings.idle_timeout_s) for session in sessions)
            for problem in await asyncio.gather(*looks, return_exceptions=True):
                if isinstance(problem, Exception):  # of one session; the others are watched all the same
                    log.error("the watch over an idle session failed", exc_info=problem)

    async def close(self) -> None:
        """End every kernel, leave no process. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(session.close("the server ended") for session in self._sessions.values()))
        await self._pool.close()
        self._starter.close()
        for lock in self._locks.values():
            if lock is not None:
                lock.release()
        self.store.close()
        self._run_dir.remove()
