"""The way of one step through the kernel, at a glance: `run_step`.

Is: send the code, wait three ways, climb the ladder at the deadline, say how it ended. Is not: who may run a step
(`session/session.py`), what it costs (`session/account.py`), or how it is shown (`delivery.py`). Below: `kernel/`.

The ladder: SIGINT, grace, SIGINT again, grace, SIGKILL. The kernel is never asked whether it obeys; all that counts is
whether the step is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rlm_kernel_mcp.errors import KernelDied, SessionBusy
from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.answers import is_withdrawn
from rlm_kernel_mcp.kernel.untrusted.reply import Reply
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.reports import StepError, StepStatus, Subcalls, Variable
from rlm_kernel_mcp.session.steps.behind import not_charged_behind
from rlm_kernel_mcp.session.steps.clock import StepClock
from rlm_kernel_mcp.session.steps.outcomes import Outcome, out_of_processor_time, tell_limit
from rlm_kernel_mcp.session.steps.resource_watch import ResourceWatch
from rlm_kernel_mcp.wire import SnapshotRequest, Withdraw

SECOND_INTERRUPT_SHARE: Final = 0.5
"""The second SIGINT comes after this share of the grace: the first may have hit a line that swallowed it."""

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
PAUSE_NS: Final = 50_000_000

WITHDRAW_S: Final = 1.0
NOT_BEGUN: Final = "the step did not begin, and nothing of it ran"

Cause = Literal["interrupt", "step_cpu_s", "max_runtime_ms", "timeout_ms"]
"""Why the ladder is climbed: somebody asked for it, or which limit it was."""

INTERRUPT_WAIT_MS: Final = 30_000
"""How long an interrupt waits for the step's end, far beyond the ladder's; then the step is reported as running."""


@dataclass(slots=True)
class RunningStep:
    """One step from its start on; `finished` is set once."""

    index: int
    code: str
    timeout_ms: int
    at_deadline: StepStatus = "timeout"
    snapshot_request: SnapshotRequest | None = None
    """What asks the kernel for a snapshot after the step."""
    execution: Execution | None = None
    clock: StepClock | None = None
    """Runs from the moment at which its code was sent."""
    interrupt: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done by `rlm_interrupt`: climb the ladder now."""
    preparation: asyncio.Future[None] | None = None
    """Set while the session's values come back into a fresh kernel; then `rlm_interrupt` sets this instead."""
    relimited: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done when its limit has changed while it runs."""
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: Outcome | None = None
    row_id: int = 0
    on_message: Callable[[], None] = lambda: None
    """Called when its kernel has said something."""
    ends_runtime: bool = False
    """Whether its deadline is the end of the session's runtime, and not its own."""
    subcalls: Callable[[], Subcalls | None] = lambda: None
    """What has become of its questions so far."""
    on_stop: Callable[[], None] = lambda: None
    """Called when it has been interrupted: what it waits for does not come any more."""
    desk: Desk | None = None
    """Where its questions wait for whoever drives the session; None: they do not."""
    ended_for: str | None = None  # why nobody wants anything of its session any more, which is ended under it

    def stop(self) -> None:
        """`rlm_interrupt`: stop whatever the step is doing."""
        asked = self.interrupt if self.preparation is None else self.preparation
        if not asked.done():
            asked.set_result(None)

    @property
    def is_stopping(self) -> bool:
        """Whether somebody has asked for its end."""
        return self.interrupt.done() or (self.preparation is not None and self.preparation.done())

    def finish(self) -> None:
        """It has ended; whoever waits for that, or for its questions, looks."""
        self.finished.set()
        if self.desk is not None:
            self.desk.wake()

    @contextmanager
    def preparing(self) -> Iterator[asyncio.Future[None]]:
        """Entered while its kernel is made ready; the future is done if that is to be given up."""
        self.preparation = asyncio.get_running_loop().create_future()
        try:
            yield self.preparation
        finally:
            self.preparation = None

    def limit(self, runtime_left_ms: int) -> None:
        """Let it take no longer than the session's runtime lasts."""
        self.ends_runtime |= runtime_left_ms < self.timeout_ms
        self.timeout_ms = min(self.timeout_ms, runtime_left_ms)

    async def has_ended(self, wait_ms: int) -> bool:
        """Wait at most so long for its end; whether it has come."""
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self.finished.wait()
        except TimeoutError:
            return False
        return True

    def busy(self, session_id: str) -> SessionBusy:
        """The error for another call while this one runs."""
        if self.desk is not None and (words := self.desk.waits_in_words):
            return SessionBusy(f"Step {self.index} of session {session_id} {words}.", "Call rlm_answer.")
        return SessionBusy(
            f"Step {self.index} of session {session_id} has been running for {self.elapsed_ms:,} ms.",
            f"Call rlm_await_step with step_index={self.index} to wait for it, or rlm_interrupt to stop it.",
        )

    @property
    def overrun(self) -> str:
        """What to say of a step that reached its deadline: which limit it was, and what to do."""
        if self.ends_runtime:
            return f"stopped after {self.timeout_ms:,} ms, at the end of the session's max_runtime_ms"
        return f"stopped at the step's limit of {self.timeout_ms:,} ms; pass a longer timeout_ms to rlm_run_repl"

    @property
    def elapsed_ms(self) -> int:
        """Time in which the step has been executing."""
        if self.outcome is not None:
            return self.outcome.duration_ms
        return self.clock.elapsed_ns(time.monotonic_ns()) // NS_PER_MS if self.clock is not None else 0


async def run_step(step: RunningStep, kernel: Kernel, policy: Policy, on_rung: Callable[[str, Cause], None]) -> Outcome:
    """Run a step's code to its end, by itself or by the ladder, each rung of which is told. It never raises."""
    watch = ResourceWatch(kernel, policy.limits)
    watch.begin_step()  # before the code is sent: what the kernel uses from then on is the step's
    execution = step.execution = kernel.client.execute(step.code, step.snapshot_request, step.index)
    execution.on_message = step.on_message
    clock = step.clock = StepClock(time.monotonic_ns(), step.timeout_ms * NS_PER_MS)
    rungs: list[str] = []

    def climb(rung: str) -> None:
        rungs.append(rung)
        on_rung(rung, _cause(step, watch))

    watch.start()
    try:
        with not_charged_behind(execution, kernel, clock):
            asked = await _wait(step, clock, execution, watch)
            withdrawn = not execution.done.done() and await _withdraw(execution, kernel)
            if not execution.done.done():
                await _climb(execution, kernel, policy.interrupt_grace_ms / 1000, climb, step.on_stop)
    finally:
        watch.stop()
    duration_ms = clock.elapsed_ns(time.monotonic_ns()) // NS_PER_MS
    if rungs and watch.exhausted.done() and not asked:
        outcome = _outcome(execution, duration_ms, rungs, "error")
        outcome.error = out_of_processor_time(policy.limits.step_cpu_s, outcome.error)
        return outcome
    when_stopped: StepStatus = "interrupted" if asked or watch.exhausted.done() else step.at_deadline
    outcome = _outcome(execution, duration_ms, rungs, when_stopped)
    if withdrawn:
        outcome.status = when_stopped
        who = ": a cell of an attached console is running" if kernel.client.console_busy else ""
        outcome.stderr += f"[{NOT_BEGUN}{who}; call rlm_run_repl again]\n"
    if outcome.status == "timeout":
        tell_limit(outcome, step.overrun)
    return outcome


async def _wait(step: RunningStep, clock: StepClock, execution: Execution, watch: ResourceWatch) -> bool:
    """Wait for the end, the deadline, the end of its processor time or an interrupt; true if it was the interrupt."""
    # Futures that already exist: no task is made for a wait, and none is left behind by a cancellation.
    waits: list[asyncio.Future[Any]] = [execution.done, step.interrupt, watch.exhausted]
    left_ns = step.timeout_ms * NS_PER_MS
    while left_ns > 0 and not any(one.done() for one in waits):
        if step.relimited.done():
            step.relimited = asyncio.get_running_loop().create_future()
        timeout_s = left_ns / NS_PER_S
        await asyncio.wait([*waits, step.relimited], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        now_ns = time.monotonic_ns()
        left_ns = clock.deadline_ns(now_ns) - now_ns  # again: a pause has moved the deadline on
        if clock.is_paused and left_ns > 0:
            left_ns = max(left_ns, PAUSE_NS)  # it stands still: else this would spin before its limit
    return step.interrupt.done()


def _cause(step: RunningStep, watch: ResourceWatch) -> Cause:
    """Why it is to end. An interrupt counts before a limit, as it does in the step's status."""
    if step.interrupt.done():
        return "interrupt"
    if watch.exhausted.done():
        return "step_cpu_s"
    return "max_runtime_ms" if step.ends_runtime else "timeout_ms"


async def _withdraw(execution: Execution, kernel: Kernel) -> bool:
    """Withdraw a step that has not begun, and interrupt nobody: another client's cell is running. Whether it worked."""
    if execution.reply.code is not None or not execution.ticket:  # its code has been echoed: it has begun
        return False
    request: Withdraw = {"rlm_ticket": execution.ticket}
    try:
        async with asyncio.timeout(WITHDRAW_S):
            reply = await kernel.client.request("interrupt_request", request)
    except (TimeoutError, KernelDied):
        return False
    withdrawn = is_withdrawn(reply.content)
    if withdrawn:  # its turn may have come meanwhile: it was answered `aborted` then
        execution.finish("withdrawn")
    return withdrawn


async def _climb(
    execution: Execution, kernel: Kernel, grace_s: float, climb: Callable[[str], None], on_stop: Callable[[], None]
) -> None:
    """SIGINT, SIGINT again, SIGKILL; stops at the rung that ends the step. `on_stop`: called with each SIGINT."""
    graces = (grace_s * SECOND_INTERRUPT_SHARE, grace_s * (1 - SECOND_INTERRUPT_SHARE))
    for wait_s in graces:
        climb("SIGINT")
        kernel.interrupt()
        on_stop()  # threads wait for answers too, and no signal reaches them
        waits: list[asyncio.Future[Any]] = [execution.done, kernel.dead]
        await asyncio.wait(waits, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        if execution.done.done():
            return
    climb("SIGKILL")
    await kernel.kill("it did not come to rest within the grace time and was killed")


def _outcome(execution: Execution, duration_ms: int, rungs: list[str], when_stopped: StepStatus) -> Outcome:
    reply = execution.reply
    how = execution.done.result()
    gone = None if how in ("complete", "half", "withdrawn") else how
    status: StepStatus
    if rungs:
        status = when_stopped
    elif gone is not None:
        status = "kernel_died"
    else:
        # Both: a reply of `ok` after an error was shown means that the code itself showed it.
        status = "ok" if reply.ename is None and reply.status == "ok" else "error"
    return Outcome(
        status=status,
        duration_ms=duration_ms,
        stdout=reply.stdout.text(),
        stderr=reply.stderr.text(),
        result=reply.result,
        error=_error(reply, gone),
        updated=tuple(Variable(*row) for row in reply.updated),
        dropped={
            "stdout": reply.stdout.dropped + (reply.dropped.get("stdout") or 0),
            "stderr": reply.stderr.dropped + (reply.dropped.get("stderr") or 0),
        },
        displays=tuple(reply.displays.kept),
        left_out=dict(reply.displays.left_out),
        kernel_gone=gone,
        rungs=tuple(rungs),
        late_chars=reply.late_chars,
        used=reply.used,
    )


def partial_outcome(step: RunningStep) -> Outcome:
    """What a running step has printed so far."""
    if step.execution is None:
        return Outcome("running", step.elapsed_ms)
    reply = step.execution.reply
    return Outcome(
        "running",
        step.elapsed_ms,
        stdout=reply.stdout.text(),
        stderr=reply.stderr.text(),
        result=reply.result,
        displays=tuple(reply.displays.kept),
        late_chars=reply.late_chars,
        subcalls=step.subcalls(),
    )


def _error(reply: Reply, gone: str | None) -> StepError | None:
    if reply.ename is not None:
        return StepError(reply.ename, reply.evalue, reply.traceback)
    if gone is None and reply.status in (None, "aborted"):
        return StepError("NoReply", "The kernel came to rest without a reply; whether the code ran is not known.", "")
    return None
