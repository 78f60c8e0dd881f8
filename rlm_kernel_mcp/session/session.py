"""One session: a kernel, an account, one step at a time.

Is: what each call may do in which of its states (`session/states/lifecycle.py`). Is not: how a step is executed
(`execution.py`), its kernel's fate (`session/kernels/session_kernel.py`), its final answer (`finalize.py`), or the
handles (`registry.py`). Above: those two. Below: the others.

A step belongs to the session, not to the call that began it.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final, Unpack

from rlm_kernel_mcp.errors import KernelDied, SessionFinalized
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.calls.limits import LimitEvents
from rlm_kernel_mcp.session.calls.step_reports import StepReports
from rlm_kernel_mcp.session.calls.wishes import StepWishes
from rlm_kernel_mcp.session.children.asked import Asked, require_not_ended
from rlm_kernel_mcp.session.contexts.contexts import ContextList
from rlm_kernel_mcp.session.contexts.loads import ContextLoads
from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.session.execution import StepExecution
from rlm_kernel_mcp.session.functions.calls import drive
from rlm_kernel_mcp.session.kernels import variables
from rlm_kernel_mcp.session.kernels.recovery import Recovery, joined
from rlm_kernel_mcp.session.kernels.session_kernel import SETTLE_S, STOP_SETTLE_S, SessionKernel
from rlm_kernel_mcp.session.kernels.slots import SlotOwner
from rlm_kernel_mcp.session.parked.desk import PREFIX, question_part
from rlm_kernel_mcp.session.parked.reports import Handed
from rlm_kernel_mcp.session.reports import Counters, LossReport, SessionStatus, StepReport, VariableSlice
from rlm_kernel_mcp.session.states.lifecycle import Event, SessionStates
from rlm_kernel_mcp.session.steps.delivery import stopped_report
from rlm_kernel_mcp.session.steps.raw_texts import telling
from rlm_kernel_mcp.session.steps.run import INTERRUPT_WAIT_MS, RunningStep
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.store.long_answers import PagedText

STOP_S: Final = 60.0


class Session:
    """One session. Its methods belong to the event loop of the registry."""

    def __init__(
        self, session_id: str, account: Account, contexts: ContextList, recovery: Recovery, journal: Journal
    ) -> None:
        self.session_id, self.account, self.journal = session_id, account, journal
        self.states = SessionStates()
        self.evidence = recovery.evidence
        self.kernel = SessionKernel(self, recovery, self.states)
        self.contexts = ContextLoads(contexts, self.kernel, journal, account)
        account.on_stop = partial(self.states.on, Event.LIMIT_REACHED)
        if account.stop is not None:
            account.on_stop()
        self.limits = LimitEvents(journal, account)
        self.limits.watch()
        self.created_at = self.last_used_at = journal.now()
        self.used_at_s = time.monotonic()
        self.owner: SlotOwner | None = None
        """For whom its kernel's slot counts."""
        self.calls = 0
        """Calls in progress; as long as there are any, the registry keeps the session."""
        self._execution = StepExecution(session_id, account, self.contexts, self.kernel, journal)
        self.final_lock = asyncio.Lock()
        self.final: str | PagedText | None = None
        self.final_given = ("", "")
        """Where the final answer came from: ("text", its SHA-256) or ("variable", its name)."""
        self.checked: Checked | None = None
        """What the final answer cites; None where the server that took it did not check."""
        self.finished_at: str | None = None
        self.asked: Asked | None = None
        self.ended: str | None = None
        """The question that it was opened for, while that waits; and why it has ended without an answer."""
        self._running: RunningStep | None = None
        self._task: asyncio.Task[None] | None = None
        self.told = StepReports(account, self.contexts, self.kernel, journal, self.states)

    # --- its state, for others ------------------------------------------------------------------

    @property
    def status(self) -> SessionStatus:
        return self.states.word

    @property
    def finalized(self) -> bool:
        return self.states.is_finalized

    @property
    def running(self) -> bool:
        return self.states.is_running

    @property
    def counters(self) -> Counters:
        return self.account.counters

    @property
    def has_kernel(self) -> bool:
        return self.kernel.current is not None

    @property
    def changing(self) -> bool:
        """Whether its kernel is just being stopped, replaced or read."""
        return self.kernel.changing or self.kernel.being_read

    @property
    def held(self) -> bool:
        """Whether it has anything that is not in its record and its snapshots."""
        at_work = self.calls > 0 or self.running or self.changing or self.has_kernel or self.contexts.under_way
        return at_work or self.asked is not None or self.told.unreported is not None or self.kernel.unreported

    @property
    def idle_kernel(self) -> Kernel | None:
        """The kernel, if it is there and no step is running in it."""
        kernel = self.kernel.current
        return kernel if kernel is not None and kernel.client.broken is None and not self.running else None

    def is_used_by_others(self, than: Caller, calls: int, *, runs: bool) -> bool:
        """Whether anybody uses it but one client, whose so many calls are, and whose the running step is if `runs`."""
        step, loads = self._running, self.contexts.contexts.loads_for_others(than)
        return loads or self.calls > calls or not (step is None or runs or step.is_stopping)

    def on_kernel_started(self, kernel: Kernel) -> None:
        """`KernelObserver`: the session has a kernel."""
        journal, account = self.journal, self.account  # not the session: its connections outlive the kernel
        kernel.client.on_console = lambda reply: journal.console(reply, account)
        self.journal.kernel_changed(str(kernel.directories.connection_file), kernel.process.pid)

    def on_kernel_restored(self, loss: LossReport) -> None:
        """`KernelObserver`: the kernel replaces another."""
        summary = f"{loss.reason}; restored {len(loss.restored)} names, lost {len(loss.names)}"
        self.journal.restored(self.account.counters.step_index, summary, self.account, loss)

    def on_kernel_ended(self, reason: str) -> None:
        """`KernelObserver`: the kernel is gone."""
        self.journal.telling.kernel_ended(reason)

    # --- steps ----------------------------------------------------------------------------------

    async def run(self, code: str, *, timeout_ms: int, **wishes: Unpack[StepWishes]) -> StepReport:
        """Start a step and wait for it at most `wait_ms`.

        Raises:
            SessionFinalized, SessionBusy, KernelDied.
            InvalidInput: the session does not offer one of those functions.
        """
        wait_ms, max_output_chars, tell = wishes["wait_ms"], wishes["max_output_chars"], wishes.get("tell")
        self.require_ready()
        functions = self.kernel.recovery.answering.functions
        drive(functions, wishes.get("callee"), is_program=max_output_chars is None)
        self.kernel.charge_idle_cpu(self.account, self.journal)
        self.kernel.check_slot(stopped=self.account.stop is not None)
        self.contexts.raise_failure()
        if self.account.admit(len(code)) is not None:
            self.journal.counters_changed(self.account, self.told.recorded_status)
            await self.journal.settled()
            loss, self.told.unreported = joined(self.told.unreported, self.kernel.take_loss()), None
            return self.limits.stopped(stopped_report(self.account, len(code), loss), code)
        step = RunningStep(self.account.begin_step(), code, timeout_ms, desk=self.told.desk)
        step.limit(self.account.left.runtime_left_ms)
        if step.desk is not None:
            step.desk.is_attended = wishes.get("answers", True)
        self.states.on(Event.STEP_BEGAN)
        self._running = step
        self._task = asyncio.create_task(self._drive(step), name=f"step {step.index} of {self.session_id}")
        try:
            if tell is None:
                return await self.told.when_done(step, wait_ms, max_output_chars)
            with telling(step, tell, self.account.left.chars_left) as told:
                report = await self.told.when_done(step, wait_ms, max_output_chars)
        except asyncio.CancelledError:
            if max_output_chars is None:  # it is a program's, and nobody asks for its end any more
                step.stop()
            raise
        told.end(report)
        return report

    async def await_step(self, index: int, *, wait_ms: int, max_output_chars: int | None) -> StepReport:
        """Wait for a running step, or report a finished one again. Raises: InvalidInput: there is no such step."""
        self._touch()
        if self._running is not None and self._running.index == index:
            return await self.told.when_done(self._running, wait_ms, max_output_chars)
        return await self.told.again(index, max_output_chars)

    async def interrupt(self, max_output_chars: int | None) -> StepReport | None:
        """Stop the running step by the ladder and report it; None when none runs."""
        self._touch()
        step = self._running
        if step is None:
            return None
        step.stop()
        return await self.told.when_done(step, INTERRUPT_WAIT_MS, max_output_chars, heeds_questions=False)

    async def answer(self, handed: Handed, by: str) -> StepReport:
        """Take answers to questions of the running step, and show or lease more. Raises: SessionFinalized."""
        self._touch()
        self._require_not_final()
        return await self.told.answer(self._running, handed, by)

    async def _drive(self, step: RunningStep) -> None:
        """A step's whole life, apart from the calls that look at it."""
        try:
            outcome = await self._execution.outcome(step)
            self.told.unreported = outcome.lost = joined(self.told.unreported, outcome.lost)
            outcome.code_chars = len(step.code)
            self.account.check()
            step.outcome = outcome
            self.journal.remember(step.index, outcome)
            self.journal.step_ended(step.row_id, outcome, self.account)
            await self.journal.settled()  # nobody hears of an end that the record does not have
            self.journal.telling.step_ended(step, outcome, self.account)
        finally:  # also where the end of the server cancels this
            self._running = None
            self.used_at_s = time.monotonic()
            step.finish()
            self.states.on(Event.STEP_ENDED)

    async def get_var(
        self, name: str, offset: int, limit: int, read: variables.Read = variables.get_variable
    ) -> VariableSlice:
        """A slice of a variable, or of a question that waits; also while a step runs.

        Raises: SessionFinalized, VariableNotFound, KernelDied.
        """
        self._touch()
        self._require_not_final()
        if name.startswith(PREFIX):
            return question_part(self.told.desk, name, offset, limit)
        try:
            async with self.kernel.reading() as kernel:
                return await read(kernel, name, offset, limit, self.kernel.recovery.gone)
        except KernelDied:
            self._require_not_final()  # it was finalized meanwhile
            raise

    async def stop_kernel(self, reason: str, settle_s: float = STOP_SETTLE_S, *, but_cells: bool = False) -> bool:
        """End the kernel once its values are kept, unless it is used meanwhile, be that (`but_cells`) by a console."""
        what = f"the stop of {self.session_id}'s kernel"
        return await shielded(self._stop_kernel(reason, settle_s, but_cells), what, within_s=STOP_S)

    async def _stop_kernel(self, reason: str, settle_s: float, but_cells: bool) -> bool:
        def is_used() -> bool:
            return self.running or self.kernel.being_read or (but_cells and self.kernel.runs_a_cell)

        stopped = await self.kernel.drop(reason, settle_s=settle_s, unless=is_used)
        if stopped:
            self.journal.forget()
        if stopped and not self.finalized:  # then its record is closed
            self.journal.kernel_stopped(reason)
        return stopped

    async def close(self, reason: str) -> None:
        """The server ends: end the running step, if any, and the kernel. The record stays for another server."""
        self.states.on(Event.SERVER_ENDS)
        self.contexts.cancel()
        task = self._task
        if self._running is not None:
            self._running.ended_for = self.ended
        if self.running and self.kernel.current is not None:
            await self.kernel.current.kill(reason)
        if task is not None:
            await asyncio.wait({task}, timeout=SETTLE_S)
        await self.kernel.drop(reason, settle_s=SETTLE_S)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=SETTLE_S)
        if not self.finalized:
            self.journal.kernel_changed("", 0)

    def _touch(self) -> None:
        self.last_used_at, self.used_at_s = self.journal.now(), time.monotonic()
        if self.asked is not None:
            self.asked.on_use()

    def require_not_ended(self) -> None:
        """Raise SessionFinalized of a child that has ended without an answer."""
        require_not_ended(self.session_id, self.ended)

    def _require_not_final(self) -> None:
        self.require_not_ended()
        if self.finalized:
            raise SessionFinalized(f"Session {self.session_id} already has its final answer.")

    def require_ready(self) -> None:
        """Raise SessionFinalized or SessionBusy unless a step may begin, or a context be added, just now."""
        self._touch()
        self._require_not_final()
        self.require_idle()

    def require_idle(self) -> None:
        """Raise SessionBusy if a step is running; or as `require_not_ended`."""
        self.require_not_ended()
        if self._running is not None:
            raise self._running.busy(self.session_id)
