"""The kernels of one session, from the first to the last: taken, kept, measured, snapshotted, replaced.

Is: which kernel a session has right now, and what went with the ones before. Is not: steps (`session/steps/run.py`) or
what a limit means (`session/account.py`). Above: `session/session.py`. Below: `recovery.py`,
`session/snapshots/taking.py`, `slots.py`, `idle_time.py`, `kernel/`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Final, Protocol

from rlm_kernel_mcp.errors import KernelDied, RestoreStopped, RlmError, SessionBusy
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.kernels.answering import WayToAsk
from rlm_kernel_mcp.session.kernels.idle_time import FREE_MS, IdleTime
from rlm_kernel_mcp.session.kernels.recovery import Recovery, joined
from rlm_kernel_mcp.session.kernels.slots import SlotHolder
from rlm_kernel_mcp.session.reports import LossReport, Variable
from rlm_kernel_mcp.session.snapshots.restoring import Effort
from rlm_kernel_mcp.session.states.lifecycle import Event, SessionStates
from rlm_kernel_mcp.session.steps.run import RunningStep
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.wire import SnapshotRequest

SETTLE_S: Final = 0.5
"""How long the end of the server waits for a snapshot."""
STOP_SETTLE_S: Final = 5.0
"""How long another session, which needs the slot, waits for the values of an idle one to be kept."""
IDLE_SETTLE_S: Final = 30.0
"""How long the idle stop waits for them: longer than any snapshot takes that comes to an end."""


class KernelObserver(SlotHolder, Protocol):
    """Whoever has the kernel: what a session hears of it."""

    def on_kernel_started(self, kernel: Kernel) -> None:
        """Called with each kernel."""

    def on_kernel_restored(self, loss: LossReport) -> None:
        """Called for each kernel that replaces another, or lacks something as the first, with what it lacks."""

    def on_kernel_ended(self, reason: str) -> None:
        """Called for each that is gone, or is just being ended."""


class SessionKernel:
    """The one kernel that a session has at a time, or none."""

    def __init__(self, observer: KernelObserver, recovery: Recovery, states: SessionStates) -> None:
        self.recovery = recovery
        self._states = states
        # No reference cycle: the texts of an ended session, many megabytes perhaps, are freed with it and not some time
        # later.
        self._observer_ref = weakref.ref(observer)
        self._slots = recovery.slots
        self._lock = asyncio.Lock()
        self._idle_time: IdleTime | None = None
        self._restoring_ms = 0
        """Processor time that the values' own code took when they were restored; not charged yet."""
        self._loss: LossReport | None = None
        self.current: Kernel | None = None
        self.gone_reason = "the kernel was gone"
        self._readers = 0
        self._way_to_ask = WayToAsk(recovery)
        self.last_step = 0
        """Index of the last step that ended with the kernel alive."""

    @property
    def _observer(self) -> KernelObserver:
        observer = self._observer_ref()
        assert observer is not None  # whoever asks something of its kernel has it
        return observer

    @property
    def changing(self) -> bool:
        """Whether a kernel is just being stopped or replaced."""
        return self._lock.locked()

    @property
    def being_read(self) -> bool:
        """Whether somebody waits for an answer from the kernel, or for a kernel that can be asked."""
        return self._readers > 0

    @property
    def runs_a_cell(self) -> bool:
        """Whether a cell of an attached console is running, as far as is known: the kernel can make one up."""
        return self.current is not None and self.current.client.console_busy

    def adopt(self, kernel: Kernel) -> None:
        """Take a ready kernel with the context in it."""
        self._states.on(Event.KERNEL_CAME)
        self.current = kernel
        self._way_to_ask.begin(kernel)
        owed_ms, self._restoring_ms = self._restoring_ms, 0
        self._idle_time = IdleTime(
            kernel.process, owed_ms=owed_ms + (self._idle_time.seen_ms if self._idle_time else 0)
        )
        self._observer.on_kernel_started(kernel)

    def check_slot(self, *, stopped: bool) -> None:
        """Raise SessionBusy if no kernel can be had right now, since every slot is held by a session at work.

        `stopped`: a limit has stopped the session, so that it needs none.
        """
        if self.current is None and not stopped:
            self._slots.check_free(self._observer.session_id, self._observer.owner)

    async def live(self, stop: asyncio.Future[None] | None = None) -> Kernel:
        """The kernel; where it is gone, a fresh one with what can be restored.

        `stop`: done when the caller gives up the values' return.

        Raises:
            KernelDied, KernelStartFailed, SandboxUnavailable: none could be started.
            RestoreStopped: the caller gave it up.
            SessionBusy: no slot is free for it.
        """
        async with self._lock:
            kernel = self.current
            if kernel is not None and kernel.client.broken is None:
                return kernel
            try:
                if kernel is not None:
                    await self._drop(kernel, kernel.client.broken or "it is gone")
                return await self._restore(stop)
            finally:
                if self.current is None:  # none could be started, or the call that wanted it is cancelled
                    self._slots.release(self._observer.session_id)
                self._slots.notify()

    async def ready_for_step(self, stop: asyncio.Future[None]) -> tuple[Kernel, SnapshotRequest | None]:
        """The kernel, at rest, and what asks it for a snapshot after the step. Raises: as `live`."""
        try:
            return await self._ready_for_step(stop)
        except KernelDied as died:
            if (gone := self.current) is None or self._way_to_ask.is_given:
                raise
            reason = died.message
        # It was gone before its process's end was known, or takes no channel: nothing of the step has been sent yet.
        await self._drop_this(gone, reason)
        return await self._ready_for_step(stop)

    async def _ready_for_step(self, stop: asyncio.Future[None]) -> tuple[Kernel, SnapshotRequest | None]:
        snapshots = self.recovery.snapshots
        kernel = await self.live(stop)
        if not await snapshots.yield_to_step(kernel):
            if self.current is kernel and self._idle_time is not None:
                self._idle_time.used_ms()  # read now, while it can be: it will be charged
            why = "a value's own code, run to keep the value, did not end, or the kernel did not say that it did"
            await self._drop_this(kernel, f"{why}; it was killed")
            kernel = await self.live(stop)
        await self._way_to_ask.given(kernel)
        return kernel, snapshots.ask(kernel)

    async def _drop_this(self, kernel: Kernel, reason: str) -> None:
        async with self._lock:
            if self.current is kernel:
                await self._drop(kernel, reason)

    def step_ended(
        self, kernel: Kernel, step: RunningStep, updated: tuple[Variable, ...], runtime_left_ms: int
    ) -> None:
        """After a step that left the kernel alive: note what it bound, and take the snapshot off the reply's path.

        The snapshot may take no longer than the runtime that is left: only its end shows whether it was really one.
        """
        self.last_step = step.index
        self.idle_cpu_charged()
        self.recovery.note_bound(step.index, updated)
        execution = step.execution
        if execution is None or execution.snapshot is None:
            return
        if execution.reply.unchanged:
            self.recovery.snapshots.unchanged(kernel, step.index)
        elif self._idle_time is not None:
            left_s = runtime_left_ms / 1000
            self.recovery.snapshots.begin(kernel, step.index, execution.snapshot, left_s, self._idle_time.restart)

    async def replace(self, kernel: Kernel, reason: str, stop: asyncio.Future[None]) -> LossReport | None:
        """After a kernel went in a step: a fresh one at once, and the account of what is gone.

        `stop`: done when the caller gives up the values' return; the next use tries again.
        """
        await self._drop_this(kernel, reason)
        async with self._lock:
            if self.current is None:
                try:
                    await self._restore(stop)
                except RlmError as error:
                    return self.recovery.everything_lost(f"{reason}; and no other could be started: {error.message}")
        return self.take_loss()

    async def drop(self, reason: str, *, settle_s: float, unless: Callable[[], bool] = lambda: False) -> bool:
        """End the kernel, after its snapshot has settled; the next use makes a fresh one. Returns whether it was ended.

        `settle_s`: how long to wait for the snapshot. `unless`: asked when it has settled, and before it is sent once
        more; if it is true by then the kernel stays.
        """
        async with self._lock:
            if self.current is not None:
                settling = asyncio.ensure_future(self._settle_last(self.current, unless))
                await asyncio.wait({settling}, timeout=settle_s)
                settling.cancel()  # the wait alone
                if unless():
                    self._slots.notify()
                    return False
                await self._drop(self.current, reason)
            self._slots.release(self._observer.session_id)
            return True

    async def _settle_last(self, kernel: Kernel, unless: Callable[[], bool]) -> None:
        if self._idle_time is not None:
            await self.recovery.snapshots.settle_last(kernel, self.last_step, self._idle_time.restart, unless)

    async def _drop(self, kernel: Kernel, reason: str) -> None:
        # Before the wait for its end: nobody is to be given a kernel that is being killed.
        self.current, self.gone_reason = None, reason
        self._way_to_ask.end()
        self._states.on(Event.KERNEL_WENT)
        self._observer.on_kernel_ended(reason)
        await kernel.kill(reason)

    async def _restore(self, stop: asyncio.Future[None] | None) -> Kernel:
        if not self._states.is_open:
            raise KernelDied(f"The session's kernel is gone: {self.gone_reason}.")
        self._states.on(Event.RESTORE_BEGAN)
        effort = Effort(stop)
        try:
            await self._slots.acquire(self._observer.session_id, self._observer)
            kernel, loss = await self.recovery.fresh_kernel(self.gone_reason, self.last_step, effort)
        except BaseException as error:  # also where the call that wanted it is cancelled
            is_refusal = isinstance(error, RlmError) and not isinstance(error, RestoreStopped | SessionBusy)
            self._states.on(Event.KERNEL_REFUSED if is_refusal else Event.RESTORE_CUT_OFF)
            self._slots.release(self._observer.session_id)
            raise
        finally:
            # Owed also where it failed: else values that end every kernel would cost processor time for nothing.
            self._restoring_ms += effort.used_ms if effort.used_ms > FREE_MS else 0
        self.adopt(kernel)
        if not self.recovery.is_first or loss.names:  # a first one that lacks nothing restores nothing
            self._loss = joined(self._loss, loss)
            self._observer.on_kernel_restored(loss)
        self.recovery.is_first = False
        return kernel

    @property
    def unreported(self) -> bool:
        """Whether there is a loss that the next reply must report."""
        return self._loss is not None

    def take_loss(self) -> LossReport | None:
        """The loss that the next reply must report; it is returned once."""
        loss, self._loss = self._loss, None
        return loss

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Kernel]:
        """The kernel, for a question of ours: its work on the answer is free, as long as somebody waits for it.

        Raises: as `live`.
        """
        self._readers += 1  # a session that is being read does not give its slot away
        try:
            kernel = await self.live()
            with self._idle_time.reading() if self._idle_time is not None else nullcontext():
                yield kernel
        finally:
            self._readers -= 1
            self._slots.notify()

    def idle_cpu_ms(self) -> int:
        """Processor time used since the last step ended, beyond what is free; measured from outside.

        A snapshot first gets the time that it may take: only then can be seen whether it was one.
        """
        if self._idle_time is None:
            return 0
        return self._idle_time.used_ms(free_ms=int(self.recovery.snapshots.within_s * 1000))

    def charge_idle_cpu(self, account: Account, journal: Journal) -> None:
        """Charge code that runs on after its step's claimed end for what the kernel used, measured from outside."""
        used_ms = self.idle_cpu_ms()
        if used_ms:
            account.charge_runtime(used_ms)
            summary = f"{used_ms:,} ms of processor time used between steps, charged as runtime"
            journal.event("run_repl", account.counters.step_index, "charged", summary, account)
            account.check()
            self.idle_cpu_charged()

    def idle_cpu_charged(self) -> None:
        """Start counting again."""
        if self._idle_time is not None:
            self._idle_time.charged()
