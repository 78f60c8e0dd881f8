"""What a call is told of a step: its end, how far it is, or what its code asks of whoever drives the session.

Is: the wait of each such call, answers on their way to who waits for them, and the delivery. Is not: which calls a
session takes when (`session/session.py`), nor how long a question waits (`session/parked/desk.py`).
Above: `session/session.py`. Below: `session/parked/desk.py`, `session/steps/delivery.py`, `session/trace/journal.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.contexts.loads import ContextLoads
from rlm_kernel_mcp.session.finding.steps import SeenSteps
from rlm_kernel_mcp.session.kernels.session_kernel import SessionKernel
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.parked.reports import Handed
from rlm_kernel_mcp.session.reports import LossReport, SessionStatus, StepReport, StepStatus
from rlm_kernel_mcp.session.states.lifecycle import SessionStates
from rlm_kernel_mcp.session.steps.behind import BEHIND, is_behind
from rlm_kernel_mcp.session.steps.delivery import deliver
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.steps.run import RunningStep, partial_outcome
from rlm_kernel_mcp.session.trace.facts import given_chars
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.text.wording import counted, lasting

NO_STEP: Final = "No step of this session has been run, and none asks anything."
ENDED: Final = "Step {index} has ended and asks nothing any more; rlm_await_step shows what came of it."
NOT_ASKED: Final = "What the code of this session asks is not answered by rlm_answer (RLM_SUBCALL_BACKEND)."
GO_ON: Final = "Go on with rlm_run_repl; rlm_await_step shows what came of a step."
SHOWN_BEFORE: Final = "The questions were shown before, and go on waiting: answer them by rlm_answer."
STILL: Final = "Taken over this connection before, and not answered yet: {numbers}."
STILL_SHOWN: Final = 20
LEASED: Final = "{what} with others, who have {lease} for each; what they do not answer comes back here."


class StepReports:
    """One session's. Belongs to the event loop."""

    def __init__(
        self,
        account: Account,
        contexts: ContextLoads,
        kernel: SessionKernel,
        journal: Journal,
        states: SessionStates,
    ) -> None:
        self._account, self._contexts, self._kernel, self._journal = account, contexts, kernel, journal
        self._states = states
        self.seen = SeenSteps(contexts.contexts)
        self.unreported: LossReport | None = None
        """The loss in the outcome of a step that nobody has read yet."""

    @property
    def desk(self) -> Desk | None:
        """Where the session's questions wait for whoever drives it; None: they do not."""
        return self._kernel.recovery.answering.desk

    @property
    def recorded_status(self) -> SessionStatus:
        """What the record says: a session whose kernel is gone may get another one from the next server."""
        return "idle" if self._states.word == "dead" else self._states.word

    async def when_done(
        self, step: RunningStep, wait_ms: int, max_output_chars: int | None, *, heeds_questions: bool = True
    ) -> StepReport:
        """Wait at most `wait_ms` for a step's end, or for questions of its code; a program waits for the end alone."""
        desk = self.desk if heeds_questions and max_output_chars is not None else None
        return await self._deliver(await self._found(step, wait_ms, desk), step.index, max_output_chars)

    async def again(self, index: int, max_output_chars: int | None) -> StepReport:
        """Report a step that has ended. Raises: InvalidInput: there is no such step."""
        outcome = await self._journal.finished(index, self._account.counters.step_index)
        return await self._deliver(outcome, index, max_output_chars)

    async def lost(self, code: str, max_output_chars: int | None) -> StepReport:
        """Report a step that was under way when its node was lost: recorded by then, or now. It is never run again."""
        index = self._account.counters.step_index
        rows = await in_reader(lambda: self._journal.events(index, index))
        found = any((row.action, row.result_status, row.code) == ("run_repl", "unknown", code) for row in rows)
        if not found and not self._states.is_finalized and self._account.admit(len(code)) is None:
            index = self._account.begin_step()
            row_id = self._journal.step_begins(index, code, self._account)
            self._journal.step_ended(row_id, Outcome("unknown", 0), self._account)
            await self._journal.settled()
        return await self.again(index, max_output_chars)

    async def answer(self, step: RunningStep | None, handed: Handed, by: str) -> StepReport:
        """Take answers to the questions of the running step, and show or lease more of them. `by`: who brings them.

        Raises: InvalidInput: nobody answers this session by such calls; what a function gave is no JSON.
        """
        if (desk := self.desk) is None:
            raise InvalidInput(NOT_ASKED, GO_ON)
        rejected = desk.hand_in(await desk.checked(handed.answers), by)
        if step is None:
            report = await self._of_no_step(handed)
        elif handed.take:
            await handed.turn()
            report = self._leased(step, handed, desk, by)
        else:
            is_raw = handed.max_output_chars is None
            outcome = await self._found(step, handed.wait_ms, desk, is_answer=True, is_raw=is_raw)
            if outcome.page is not None:
                await handed.turn()
                outcome = await self._found(step, 0, desk, is_answer=True, is_raw=is_raw)  # others had theirs meanwhile
            if is_raw and outcome.page is None:  # a program has the step's own call for its end
                outcome = Outcome(outcome.status, outcome.duration_ms, subcalls=outcome.subcalls)
            report = await self._deliver(outcome, step.index, handed.max_output_chars)
        return replace(report, rejected=rejected)

    async def _found(
        self, step: RunningStep, wait_ms: int, desk: Desk | None, *, is_answer: bool = False, is_raw: bool = False
    ) -> Outcome:
        """How a step has ended, how far it is, or that it needs answers, after at most so long."""
        if desk is None:
            has_ended = await step.has_ended(wait_ms)
        else:
            has_ended = await _has_ended_or_asks(step, desk, wait_ms)
        if has_ended:
            return step.outcome or await self._journal.finished(step.index, step.index)
        if desk is None or not desk.is_due:
            outcome = partial_outcome(step)
            outcome.news = "" if desk is None or not desk.leased else _leased_words(desk)
            if is_behind(step.execution, runs_a_cell=self._kernel.runs_a_cell):
                outcome.news = BEHIND
            return outcome
        # What it has printed came with the page before, and comes again with its end.
        outcome = Outcome("running", step.elapsed_ms, subcalls=step.subcalls()) if is_answer else partial_outcome(step)
        outcome.status = "needs_answers"
        outcome.news = SHOWN_BEFORE if desk.was_shown and not is_answer else ""
        outcome.page = desk.raw_page if is_raw else partial(desk.page, is_preview=not is_answer)
        return outcome

    def _leased(self, step: RunningStep, handed: Handed, desk: Desk, by: str) -> StepReport:
        """The next questions for the caller alone, of which the budget for output is not charged."""
        still = desk.still_taken(by)
        page = desk.lease(handed.take, handed.max_output_chars, by)
        status: StepStatus = "running" if page is None else "needs_answers"
        outcome = Outcome(status, step.elapsed_ms, subcalls=step.subcalls())
        outcome.news = STILL.format(numbers=", ".join(map(str, still[:STILL_SHOWN]))) if still else ""
        report = deliver(outcome, step_index=step.index, account=self._account, max_output_chars=1)
        return replace(report, questions=page)

    async def _of_no_step(self, handed: Handed) -> StepReport:
        """No step runs: what came of the last one, and no more than a word of that for who wanted questions."""
        index, left = self._account.counters.step_index, self._account.left
        if index and not handed.take and handed.max_output_chars is not None:
            return await self.again(index, handed.max_output_chars)
        status: StepStatus = (await self._journal.finished(index, index)).status if index else "ok"
        note = ENDED.format(index=index) if index else NO_STEP
        return StepReport(status, index, 0, left, guardrail_stop=self._account.stop, note=note)

    async def _deliver(self, outcome: Outcome, index: int, max_output_chars: int | None) -> StepReport:
        self._contexts.raise_again(outcome.refused)
        before = self._account.counters.budget_used
        report = deliver(outcome, step_index=index, account=self._account, max_output_chars=max_output_chars)
        charged = self._account.counters.budget_used - before
        row_id = self._journal.delivered(index, self._account, self.recorded_status, given_chars(report), charged)
        self._kernel.recovery.evidence.deliver(*report.texts, event=row_id)
        if row_id:
            self.seen.delivered(row_id, report.texts, outcome.used.shown)
        await self._journal.settled()  # what is reported is written by then, or the report says why not
        if outcome.lost is not None and outcome.lost is self.unreported:
            self.unreported = None
        problem = self._journal.new_problem(self._kernel.recovery.snapshots.problem)
        return replace(report, note=f"{problem} {report.note or ''}".rstrip()) if problem else report


async def _has_ended_or_asks(step: RunningStep, desk: Desk, wait_ms: int) -> bool:
    """Wait at most so long for a step's end or for its questions; whether it has ended."""
    try:
        async with asyncio.timeout(wait_ms / 1000):
            while not step.finished.is_set() and not desk.is_due:
                await desk.change()
    except TimeoutError:
        pass
    return step.finished.is_set()


def _leased_words(desk: Desk) -> str:
    what = f"{counted(desk.leased, 'question')} {'is' if desk.leased == 1 else 'are'}"
    return LEASED.format(what=what, lease=lasting(desk.lease_s))
