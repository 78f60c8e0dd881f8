"""Loads the contexts of one session into its kernel, while nobody waits for it.

Is: each load from its beginning to its end, whoever waits for it and for how long. Is not: a context's source
(`source.py`), the list (`contexts.py`), nor the session's first kernel (`session/opening.py`). Above:
`session/session.py`, `session/registry.py`. Below: `contexts.py`, `session/kernels/`, `session/trace/journal.py`,
`store/reading.py`.

A load belongs to the session. It reads its files beside everything else, and needs the kernel for a moment at its end;
no step begins before that. A failure is reported once: to the call that began the load, or to the next step.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.errors import InternalError, KernelDied, RestoreStopped, RlmError, again
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.context_reports import ContextReport, LoadingReport
from rlm_kernel_mcp.session.contexts.contexts import ContextList, SessionContext
from rlm_kernel_mcp.session.contexts.given import Progress
from rlm_kernel_mcp.session.contexts.looks import FileLooks
from rlm_kernel_mcp.session.contexts.names import came, check_name
from rlm_kernel_mcp.session.contexts.readings import Reading
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.kernels.context_loading import context_report, load_whole
from rlm_kernel_mcp.session.kernels.session_kernel import SessionKernel
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.reading import in_reader

log = logging.getLogger(__name__)
TRIES: Final = 2
"""A kernel that goes in the middle of a load is replaced once."""
LOADING: Final = "it is still being loaded, and the next step waits for it"


@dataclass(slots=True)
class _Load:
    """One load."""

    context: SessionContext
    source: ContextSource | None
    """With its text; None: the store has that."""
    reading: Reading | None = None
    payload: Payload | None = None
    begun_s: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    failure: RlmError | None = None
    """Why it failed, until that has been reported."""
    is_answered: bool = True
    """Whether the call that began it waits for it no more."""

    @property
    def progress(self) -> Progress:
        return Progress() if self.reading is None else self.reading.progress


class ContextLoads:
    """The loads of one session. Belongs to the event loop."""

    def __init__(self, contexts: ContextList, kernel: SessionKernel, journal: Journal, account: Account) -> None:
        self.contexts = contexts
        self._kernel = kernel
        self._journal = journal
        self._account = account
        self._loads: dict[str, _Load] = {}
        """Those that have not ended, and those whose failure nobody has been told."""
        self.looks = FileLooks(contexts)
        self._ended_bytes = 0
        """Of the loads that have ended while others go on: what these say of all does not become less by that."""
        self._news: list[str] = []
        """What is to be said of those that came after their call was answered."""
        contexts.hashes.on_done = self._write_down

    # --- what others ask about them ---------------------------------------------------------------

    @property
    def under_way(self) -> bool:
        """Whether a context is being loaded or hashed, or somebody is to be told why one could not be."""
        return bool(self._loads) or self.contexts.hashes.under_way

    @property
    def progress(self) -> tuple[int, int] | None:
        """Bytes loaded, and bytes in all, of what is being loaded, also for a fresh kernel; None where nothing is."""
        loads = [load.progress for load in self._loads.values() if load.failure is None] + self.contexts.read_again
        done, of = sum(one.loaded_bytes for one in loads), sum(one.bytes for one in loads)
        return (self._ended_bytes + done, self._ended_bytes + of) if loads else None

    def report(self, context: SessionContext) -> ContextReport | LoadingReport:
        """What is reported about a context at this moment."""
        if context.report is not None:
            return replace(context.report, changed=context.report.changed or context.has_changed)
        progress = self._loads[context.name].progress if context.name in self._loads else Progress()
        numbers = progress.bytes, progress.loaded_bytes
        return LoadingReport(context.name, context.source.kind, *numbers, skipped=dict(progress.skipped))

    def take_news(self) -> str:
        """What a step is to tell of the contexts that came since a call was answered; once."""
        news, self._news = " ".join(self._news), []
        return news

    # --- loads ------------------------------------------------------------------------------------

    async def add(self, source: ContextSource, wait_ms: int, by: Caller) -> ContextReport | LoadingReport:
        """Load a further context, and wait for it at most so long. No step runs now.

        Its paths lie below the caller's roots, which the source has, and below those of the session.

        Raises:
            InvalidInput, ContextNotFound, ContextDenied, ContextTooLarge, KernelDied: nothing has changed.
        """
        first = self.contexts.first
        taken = [one.name for one in self.contexts.all if not one.has_failed]
        check_name("name", source.name, taken, asking=self._account.asking)
        of_session = self.contexts.roots
        source = replace(source, roots=source.roots.within(of_session) if source.roots else of_session)
        if source.name == first.name:  # which could not be loaded: this takes its place
            source = replace(source, prefix="")
        # The caller's roots are open as long as its connection is there; the session knows them by what they are.
        kept = replace(source, text=None, roots=source.roots and source.roots.recorded())
        if source.name == first.name:
            context, first.source, first.has_failed = first, kept, False
        else:
            context = SessionContext(kept, in_store=source.name)
            self.contexts.all.append(context)
        if source.text is not None:
            self._journal.keep_context(source.text, context.in_store)
        context.by = by
        self.begin(context, source)
        self._write_down()  # by this another server knows of it, should this one end
        await self.wait(context, wait_ms)
        await self._journal.settled()
        return self.report(context)

    def begin(self, context: SessionContext, source: ContextSource | None, reading: Reading | None = None) -> None:
        """Load a context of the list. `reading`: what has begun to read it, if anything."""
        load = self._loads[context.name] = _Load(context, source, reading)
        self._kernel.recovery.gone[context.name] = LOADING
        load.task = asyncio.create_task(self._drive(load), name=f"load of {context.name}")
        load.task.add_done_callback(lambda task: self._ended(load, task))

    async def wait(self, context: SessionContext, wait_ms: int) -> None:
        """Wait for the end of a load, at most this long. Raises: why it failed, which counts as reported then."""
        if (load := self._loads.get(context.name)) is None or load.task is None:
            return
        load.is_answered = False
        try:
            await asyncio.wait({load.task}, timeout=wait_ms / 1000)
        finally:  # also where the call is cancelled: the load is the session's, and goes on
            load.is_answered = True
        if load.failure is not None and self._loads.get(context.name) is load:
            raise self._told(load)

    async def ready(self, stop: asyncio.Future[None]) -> RlmError | None:
        """Wait until every context is there; why one is not, which is reported once.

        Raises:
            RestoreStopped: `stop` is done: the caller gave up the wait. The loads go on.
        """
        for context in self.contexts.all:
            if context.report is None and not context.has_failed and context.name not in self._loads:
                self.begin(context, None)  # a server before ended while it loaded this
        while waiting := {load.task for load in self._loads.values() if load.task and not load.task.done()}:
            await asyncio.wait({*waiting, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                raise RestoreStopped("The step was interrupted while a context was being loaded, which goes on.")
        return self._untold()

    def raise_failure(self) -> None:
        """Raise why a context could not be loaded, if that has not been reported; it has then."""
        if failure := self._untold():
            raise failure

    @staticmethod
    def raise_again(failure: RlmError | None) -> None:
        """Raise what a step was answered, to whoever asks for that step once more."""
        if failure is not None:
            raise again(failure)

    def _untold(self) -> RlmError | None:
        failed = next((load for load in self._loads.values() if load.failure is not None), None)
        return None if failed is None else self._told(failed)

    def cancel(self, *, hashes: bool = True) -> None:
        """Nobody needs them any more, nor (`hashes`) those that are still to be made."""
        for load in self._loads.values():
            if load.task is not None:
                load.task.cancel()
        self._loads.clear()
        if hashes:
            self.contexts.hashes.cancel()

    def _told(self, load: _Load) -> RlmError:
        assert load.failure is not None
        self._loads.pop(load.context.name, None)
        return load.failure

    async def _drive(self, load: _Load) -> None:
        """A load's whole life."""
        context = load.context
        try:
            if load.reading is None:
                load.reading = await self._begun(load)
            await self._loaded(load, load.reading)
        except RlmError as error:
            load.failure = error
        if load.failure is None:
            context.marks, context.at_step = load.progress.marks, self._account.counters.step_index
            self._news += [came(context.report)] if load.is_answered and context.report else []
            self._kernel.recovery.gone.pop(context.name, None)
            self._loads.pop(context.name, None)
        else:
            self._failed(context)
        others = any(other is not load and not other.failure for other in self._loads.values())
        self._ended_bytes = self._ended_bytes + load.progress.bytes if others else 0
        duration_ms = int((time.monotonic() - load.begun_s) * 1000)
        action = "init_context" if context is self.contexts.first else "add_context"
        self._journal.loaded(action, context.report, context.name, load.failure, duration_ms, self._account)
        self._write_down()

    def _failed(self, context: SessionContext) -> None:
        self._kernel.recovery.gone[context.name] = "it could not be loaded"
        context.claimed_bytes = 0
        if context is self.contexts.first:
            context.has_failed = True
        else:
            self.contexts.all.remove(context)
            self._journal.keep_context(None, context.in_store)

    def _write_down(self) -> None:
        """Have the record say which contexts there are, so that another server can load them."""
        reference = self.contexts.reference(self._kernel.recovery.offered) | self._account.recorded_functions
        self._journal.contexts_changed(self.contexts.first_row(), reference)

    async def _begun(self, load: _Load) -> Reading:
        source, progress = load.source, Progress()
        if source is None:
            source = load.source = await in_reader(partial(self.contexts.source_of, load.context))
        beside = self.contexts.beside(load.context)
        opening = source.opened(self.contexts.means, beside=beside, progress=progress)
        return Reading(asyncio.create_task(opening, name=f"reading of {source.name}"), progress)

    async def _loaded(self, load: _Load, reading: Reading) -> None:
        try:
            load.payload = await reading.task
        except BaseException:
            reading.discard()
            raise
        try:
            await self._after_first(load)
            for tries in range(1, TRIES + 1):
                try:
                    async with self._kernel.reading() as kernel:
                        return await self._into(kernel, load)
                except KernelDied:
                    if tries == TRIES:
                        raise
        finally:
            load.payload.close()

    async def _after_first(self, load: _Load) -> None:
        """The first context comes before the others, in `documents` too."""
        first = self._loads.get(self.contexts.first_name)
        if first is not None and first is not load and first.task is not None:
            await asyncio.wait({first.task})

    async def _into(self, kernel: Kernel, load: _Load) -> None:
        """Put the payload into the kernel; if its file was written to meanwhile, a copy of what it is then."""
        context = load.context
        # By the session's own roots: the client's connection may have ended by now.
        source = replace(load.source or context.source, roots=context.source.roots)
        assert load.payload is not None

        async def copied() -> Payload:
            assert load.payload is not None
            load.payload.close()
            means, beside = self.contexts.means, self.contexts.beside(context)
            load.payload = await source.opened(means, copy=True, beside=beside, progress=load.progress)
            self.contexts.claim_room(context, load.payload)
            return load.payload

        self.contexts.claim_room(context, load.payload)
        loaded = await load_whole(kernel, load.payload, copied, context.name, add=True)
        context.report = context_report(load.payload, loaded, context.name)
        context.note_origin(load.payload)
        self.contexts.hash_later(context, load.payload.unhashed())

    def _ended(self, load: _Load, task: asyncio.Task[None]) -> None:
        load.context.by = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the load of %s failed", load.context.name, exc_info=error)
            load.failure = InternalError("The server failed while it loaded a context; its log has the details.")
            self._failed(load.context)
