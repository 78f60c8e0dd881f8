"""Handles to sessions: what the MCP tools call.

Is: open, run, read, list, finalize, close; who owns the run directory, the kernels and the store. Is not: MCP, and
nothing here is tied to a connection: a session belongs to its handle. Above: `server/`. Below: `handles.py`,
`opening.py`, `finalize.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final, Unpack

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.kernel.starter import KernelStarter
from rlm_kernel_mcp.session import finalize, listing, reports
from rlm_kernel_mcp.session.boards.choice import switchboard_of
from rlm_kernel_mcp.session.boards.functions import FunctionBoard
from rlm_kernel_mcp.session.callers.caller import Caller, whose
from rlm_kernel_mcp.session.callers.ids import new_session_id
from rlm_kernel_mcp.session.calls.acknowledging import acknowledged
from rlm_kernel_mcp.session.calls.wishes import StepWishes
from rlm_kernel_mcp.session.carrying.durable import Durable
from rlm_kernel_mcp.session.children.opening import open_children
from rlm_kernel_mcp.session.contexts.given import Added, Given, Options
from rlm_kernel_mcp.session.contexts.names import LINES, check_name
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.handles import Handles
from rlm_kernel_mcp.session.idle_watch import end_all, end_for_its_program, watch_all
from rlm_kernel_mcp.session.kernels.loaders import loaders_of
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.session.kernels.variables import Read, get_variable
from rlm_kernel_mcp.session.opening import prepare
from rlm_kernel_mcp.session.parked.reports import Handed
from rlm_kernel_mcp.session.reopening import ServerResources
from rlm_kernel_mcp.session.steps.delivery import nothing_interrupted
from rlm_kernel_mcp.session.trace import reading as trace_reading
from rlm_kernel_mcp.session.trace.progress import note_all
from rlm_kernel_mcp.session.trace.reports import TracePage
from rlm_kernel_mcp.session.watching.feeds import Feeds
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import all_ended, made_in_thread, shielded
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.upkeep import keep_up
from rlm_kernel_mcp.store.writer import Writer
from rlm_kernel_mcp.telemetry.spans import Spans

log = logging.getLogger(__name__)
CLOSE_S: Final = 4.0
"""How long the sessions' ends may take at the end of the server, and again the clean-ups that are left after them."""
INTERRUPT_OUTPUT_CHARS: Final = 8_000


class Registry:
    """Every session of one server process."""

    def __init__(  # noqa: PLR0913 (what a registry is made of)
        self,
        settings: Settings,
        run_dir: RunDir,
        starter: KernelStarter,
        store: Store,
        slots: KernelSlots | None = None,
        feeds: Feeds | None = None,
        *,
        durable: Durable | None = None,
    ) -> None:
        self.settings, self.store, self._durable = settings, store, durable
        self._run_dir, self._starter = run_dir, starter
        self._pool = KernelPool(starter)
        self._slots = slots or KernelSlots(settings.max_sessions)
        self._writer = Writer(store)
        loaders = loaders_of(self._pool, starter.policy, settings)
        self.spans = spans = Spans(settings.telemetry)
        self._board = switchboard_of(settings, store, self._writer, spans, is_hosted=feeds is not None)
        self._calls = FunctionBoard(store, self._writer, self._board, spans)
        shared = (settings, starter.policy, self._pool, self._slots, store, self._writer, loaders, feeds or Feeds())
        self._shared = ServerResources(*shared, self._board, calls=self._calls, spans=spans, durable=durable)
        self.handles = Handles(self._shared)
        self._sessions = self.handles.sessions
        open_children(self._board, self, self._shared)
        self._tasks, self._closed = list[asyncio.Task[None]](), False
        self.own = Caller.of("", settings)  # last: nobody closes it where something of the above fails
        """Who calls where nobody is named."""

    @classmethod
    async def open(
        cls,
        settings: Settings,
        slots: KernelSlots | None = None,
        feeds: Feeds | None = None,
        durable: Durable | None = None,
    ) -> Registry:
        """Open the store and the run directory, and warm the first kernel in the background.

        `slots`, `feeds`: those of the process, where it has several registries (`session/callers/profiles.py`).
        `durable`: what each answer waits for, where other servers are to have the sessions if this one is lost.

        Raises: KernelStartFailed.
        """
        with ExitStack() as undo:  # whatever fails or cancels this, the directory and the file are given back
            run_dir = await RunDir.create_in_thread(ask_engines=settings.sandbox_mode == "container")
            undo.callback(run_dir.remove)
            starter = KernelStarter(settings, run_dir)
            store = await made_in_thread(lambda: Store.open(settings.state_dir), Store.close)
            undo.callback(store.close)
            if store.problem:
                log.warning("%s", store.problem)
            limit_mb = starter.policy.limits.memory_mb  # the kernelspec's, where no setting names one
            parts = (replace(settings, memory_limit_mb=limit_mb), run_dir, starter, store, slots, feeds)
            registry = cls(*parts, durable=durable)
            undo.callback(registry.own.close)
            await registry.spans.open()
            undo.pop_all()
        registry._pool.warm()
        idle_watch = watch_all(registry._sessions, settings.idle_timeout_s, registry.handles.let_go)
        for work, name in ((idle_watch, "idle watch"), (keep_up(store), "upkeep of the store")):
            registry._tasks.append(asyncio.create_task(work, name=name))
        return registry

    async def init_context(
        self,
        *,
        context_text: str | None,
        context_paths: Sequence[str] | None,
        limits: reports.Guardrails,
        caller: Caller | None = None,
        options: Options | None = None,
    ) -> reports.Opened:
        """Open a session: its own kernel with the context in it, which may come after `options.wait_ms` milliseconds.

        `caller`: who asks; None: somebody with the settings of this registry.
        Raises: ContextNotFound, ContextDenied, ContextTooLarge, InvalidInput, KernelStartFailed, SandboxUnavailable.
        """
        options, caller = options or Options(), caller or self.own
        check_name("context_name", options.name, asking=options.asking(is_answered=self._board is not None))
        given = Given(context_text, None if context_paths is None else tuple(context_paths))
        source = ContextSource.of(given, options, caller)
        session_id = new_session_id()
        await self._slots.acquire(session_id, owner=caller.slot_owner)
        try:
            prepared = await prepare(source, options, self._shared.means, self._pool)
        except BaseException:
            self._slots.release(session_id)
            raise
        session = await self.handles.open(session_id, source, prepared, limits, caller)
        return prepared.told(session)

    def has(self, session_id: str) -> bool:
        """Whether it has a session in memory, or is just opening it again."""
        return self.handles.has(session_id)

    def load_progress(self, session_id: str) -> tuple[int, int] | None:
        """Bytes loaded, and bytes in all, of what a session's steps wait for; None where that is nothing."""
        session = self._sessions.get(session_id)
        return None if session is None else session.contexts.progress

    async def add_context(self, session_id: str, given: Given, options: Options, caller: Caller | None = None) -> Added:
        """Load a further context into a session between its steps. `caller`: as in `init_context`.

        Raises: SessionNotFound, SessionFinalized, SessionBusy, KernelDied, and as `init_context` does of a context.
        """
        source = ContextSource.of(given, options, caller or self.own, prefix=f"{options.name}/")
        async with self.handles.in_use(session_id, caller or self.own) as session:
            session.require_ready()
            report = await session.contexts.add(source, options.wait_ms, caller or self.own)
            added = Added(session_id, report, {options.name: LINES[source.kind].format(name=options.name)})
            return await acknowledged(self._durable, session, added)

    async def run_repl(
        self,
        session_id: str,
        code: str,
        *,
        timeout_ms: int | None,
        caller: Caller | None = None,
        **wishes: Unpack[StepWishes],
    ) -> reports.StepReport:
        """Run a step.

        Raises: SessionNotFound, SessionFinalized, SessionBusy, KernelDied.
        """
        async with self.handles.in_use(session_id, caller or self.own) as session:
            timeout = session.account.limits.step_timeout_ms if timeout_ms is None else timeout_ms
            return await acknowledged(self._durable, session, await session.run(code, timeout_ms=timeout, **wishes))

    async def await_step(
        self, session_id: str, step_index: int, *, wait_ms: int, max_output_chars: int, caller: Caller | None = None
    ) -> reports.StepReport:
        """Wait for a step. Raises: SessionNotFound, InvalidInput."""
        async with self.handles.in_use(session_id, caller or self.own) as session:
            report = await session.await_step(step_index, wait_ms=wait_ms, max_output_chars=max_output_chars)
            return await acknowledged(self._durable, session, report)

    async def answer(self, session_id: str, handed: Handed, caller: Caller | None = None) -> reports.StepReport:
        """Take answers to its questions, and show more. Raises: SessionNotFound, SessionFinalized, SessionBusy."""
        async with self.handles.in_use(session_id, caller or self.own) as session:
            report = await session.answer(handed, (caller or self.own).connection)
            return await acknowledged(self._durable, session, report)

    async def interrupt(self, session_id: str, caller: Caller | None = None) -> reports.StepReport:
        """Stop the running step. Raises: SessionNotFound."""
        async with self.handles.in_use(session_id, caller or self.own) as session:
            report = await session.interrupt(INTERRUPT_OUTPUT_CHARS)
            report = report or nothing_interrupted(session.account, is_final=session.finalized)
            return await acknowledged(self._durable, session, report)

    async def get_var(
        self,
        session_id: str,
        var_name: str,
        *,
        offset: int,
        limit: int,
        read: Read = get_variable,
        caller: Caller | None = None,
    ) -> reports.VariableSlice:
        """Read a variable. Raises: SessionNotFound, SessionFinalized, VariableNotFound, KernelDied."""
        async with self.handles.in_use(session_id, caller or self.own) as session:
            return await acknowledged(self._durable, session, await session.get_var(var_name, offset, limit, read))

    async def finalize(
        self,
        session_id: str,
        *,
        final_text: str | None,
        final_var_name: str | None,
        max_output_chars: int | None,
        quotes: Sequence[Quote] = (),
        caller: Caller | None = None,
    ) -> reports.FinalReport:
        """Take the final answer. Without `max_output_chars` the report has it raw and whole.

        Raises: SessionNotFound, SessionFinalized, SessionBusy, VariableNotFound, KernelDied, CitationMismatch.
        """
        async with self.handles.in_use(session_id, caller or self.own) as session:
            if session.finalized and session_id not in self._sessions:
                session.final = await in_reader(lambda: self.store.final_answer(session_id))
            given, let_go = (final_text, final_var_name, quotes), self.handles.let_go
            report = await finalize.finalize(session, *given, max_output_chars, let_go)
            return await acknowledged(self._durable, session, report)

    async def get_trace(self, session_id: str, **asked: Unpack[trace_reading.Asked]) -> TracePage:
        """A page of the trace. Raises: SessionNotFound, InvalidInput."""
        await self.complete_trace(session_id, asked["from_step"], asked["to_step"])
        wanted = trace_reading.Wanted(**asked)
        return await in_reader(lambda: trace_reading.read_page(self.store, session_id, wanted))

    async def complete_trace(self, session_id: str, from_step: int | None, to_step: int | None) -> None:
        """See that the record has all that happened by now. Raises: SessionNotFound, InvalidInput."""
        if from_step is not None and to_step is not None and from_step > to_step:
            raise InvalidInput(f"from_step={from_step} lies after to_step={to_step}.")
        if (session := self._sessions.get(session_id)) is not None:
            await note_all(session.idle_kernel, session.journal, session.account)
        await self._writer.settled(session_id)
        await self._calls.settled(session_id)
        if session is None and not await in_reader(lambda: self.store.knows(session_id)):
            raise self.handles.not_found(session_id)

    async def let_go(self, session_id: str, caller: Caller | None, calls: int, *, runs: bool) -> None:
        """End the kernel of a session that the caller opened and others do not use (`Session.is_used_by_others`)."""
        session, opener = self._sessions.get(session_id), self.handles.opened_by.get(session_id)
        if session and opener is (by := caller or self.own) and not session.is_used_by_others(by, calls, runs=runs):
            await shielded(end_for_its_program(session, self.handles.let_go), f"the close of {session_id}")

    async def list_sessions(
        self, *, state: listing.State = "live", limit: int = 20, offset: int = 0, caller: Caller | None = None
    ) -> reports.SessionList:
        """This server's sessions and those of others, the last used first."""
        wanted = listing.Wanted(state, limit, offset)
        connection = whose(self.handles.opened_by, caller or self.own)
        return await listing.listed(self.store, self._sessions, wanted, connection)

    async def close(self) -> None:
        """End every kernel and leave no process, whatever one of them does. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.own.close()
        with ExitStack() as ends:  # called from the last to the first, each of them whatever another raises
            for end in (self._run_dir.remove, self.store.close, self._writer.close, self.handles.give_all_back):
                ends.callback(end)
            ends.callback(self._starter.close)
            for task in self._tasks:
                task.cancel()
            self._pool.stop()
            await end_all(self._sessions.values(), CLOSE_S)
            await self._calls.close()
            self._starter.stop()  # a fork that was asked for would have seconds to say who it is
            await self._pool.close()
            await all_ended(CLOSE_S)
            await self.spans.close()
