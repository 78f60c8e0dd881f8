"""Executes a step: with its contexts there, in the session's kernel, and with another kernel where that one ended.

Is: what a step needs before it runs and what becomes of the session after it, up to an outcome, whatever goes wrong.
Is not: which calls may begin a step or wait for it (`session.py`), or the run itself with its ladder
(`session/steps/run.py`). Above: `session.py`. Below: `session/contexts/`, `session/kernels/`, `session/steps/`.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from rlm_kernel_mcp.errors import RestoreStopped, RlmError
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.contexts.loads import ContextLoads
from rlm_kernel_mcp.session.kernels.session_kernel import SessionKernel
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.steps.run import Cause, RunningStep, run_step
from rlm_kernel_mcp.session.steps.runtime import RunningLimit
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.session.trace.progress import noting_progress

log = logging.getLogger(__name__)
FAILED_HERE: Final = "The server failed in this step; its log has the details."
ENDED_FOR: Final = "[the session was ended: {why}]"


class StepExecution:
    """How the steps of one session are executed, one at a time."""

    def __init__(
        self, session_id: str, account: Account, contexts: ContextLoads, kernel: SessionKernel, journal: Journal
    ) -> None:
        self._session_id = session_id
        self._account, self._contexts, self._kernel, self._journal = account, contexts, kernel, journal

    async def outcome(self, step: RunningStep) -> Outcome:
        """Execute a step. What fails is part of its outcome, since others wait for the end."""
        outcome = await self._outcome(step)
        if step.ended_for is not None and outcome.status in ("interrupted", "kernel_died"):
            outcome.status, outcome.lost = "interrupted", None  # what has become of its kernel is not the reason
            outcome.stderr = "\n".join(filter(None, (outcome.stderr, ENDED_FOR.format(why=step.ended_for))))
        return outcome

    async def _outcome(self, step: RunningStep) -> Outcome:
        try:
            step.row_id = self._journal.step_begins(step.index, step.code, self._account)
            self._journal.telling.step_begins(step)
            return await self._execute(step)
        except RestoreStopped as error:
            words, cause = f"step {step.index} before its code ran", "interrupt"
            self._journal.event("interrupt", step.index, "ok", words, self._account, cause=cause)
            return Outcome("interrupted", 0, stderr=error.message, lost=self._kernel.take_loss())
        except RlmError as error:
            gone = "" if step.ended_for else error.message
            return Outcome("kernel_died", step.elapsed_ms, stderr=gone, kernel_gone=error.message)
        except asyncio.CancelledError:  # by the close of its session, whose kernel did not come in time
            if step.ended_for is None or (task := asyncio.current_task()) is None:
                raise
            task.cancel()  # at the next wait, by which its row has its end
            return Outcome("interrupted", step.elapsed_ms)
        except Exception:  # the reaper's edge: whatever goes wrong here, the step must end for those who wait
            log.exception("step %d of %s", step.index, self._session_id)
            return Outcome("kernel_died", step.elapsed_ms, stderr=FAILED_HERE)

    async def _execute(self, step: RunningStep) -> Outcome:
        with step.preparing() as stop:
            if failure := await self._contexts.ready(stop):
                return Outcome.refusal(failure)
            self._contexts.looks.begin()
            kernel, step.snapshot_request = await self._kernel.ready_for_step(stop)
            await self._journal.settled()  # the record has that it began, whatever becomes of this server
            if (durable := self._kernel.recovery.durable) is not None:
                durable.begun(self._session_id)
        if stop.done() or step.ended_for is not None:
            raise RestoreStopped("The step was interrupted before its code ran.")
        self._kernel.charge_idle_cpu(self._account, self._journal)
        step.limit(self._account.left.runtime_left_ms)
        self._account.running = RunningLimit(step)
        try:
            with noting_progress(step, self._journal, self._account), self._kernel.recovery.answering.serving(step):
                policy = self._kernel.recovery.policy
                outcome = await run_step(step, kernel, policy, partial(self._on_rung, step))
        finally:
            self._account.running = None
        outcome.subcalls = step.subcalls()
        self._account.charge_runtime(outcome.duration_ms)
        self._kernel.recovery.evidence.take_step(outcome.used, lost=outcome.kernel_gone is not None)
        if outcome.kernel_gone is not None:
            with step.preparing() as stop:
                outcome.lost = await self._kernel.replace(kernel, outcome.kernel_gone, stop)
        else:
            outcome.lost = self._kernel.take_loss()
            self._kernel.step_ended(kernel, step, outcome.updated, self._account.left.runtime_left_ms)
        outcome.contexts_changed, outcome.news = await self._contexts.looks.changed(), self._contexts.take_news()
        return outcome

    def _on_rung(self, step: RunningStep, rung: str, cause: Cause) -> None:
        words = f"{rung} to the kernel in step {step.index}"
        self._journal.event("interrupt", step.index, "ok", words, self._account, rung=rung.lower(), cause=cause)
