"""Puts a session's questions on its desk, in the place of sending them, and takes their answers from there.

Is: `Sending` of `session/answering/jobs.py` for a session that its own agent answers: which question may wait for an
answer, and what an answer, a refusal or the end of all patience means to whoever asks. Is not: the desk
(`session/parked/desk.py`), nor a limit or a cache (`session/answering/broker.py`).
Above: `agents.py`. Below: `session/answering/jobs.py`, `session/parked/desk.py`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Unanswered
from rlm_kernel_mcp.session.answering.jobs import Job
from rlm_kernel_mcp.session.answering.ledger import Verdict
from rlm_kernel_mcp.session.answering.questions import Failed
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.parked.pile import Parked
from rlm_kernel_mcp.session.parked.reports import DECLINED_CHARS, PROGRAM, AnswerGiven
from rlm_kernel_mcp.text.safe_text import safe_prefix

UNATTENDED: Final = Failed("refused", "The program that runs this step answers no questions (`answer` of its `run`).")
NOT_IN_TIME: Final = "Nobody answered the question in time; the agent that drives the session may be gone."
REPAIR: Final = "{prompt}\n\nAn earlier answer did not conform to the schema: {why}"


class Parking:
    """One session's. Belongs to the event loop."""

    def __init__(self, desk: Desk, parallel: int) -> None:
        """`parallel`: how many questions may wait at once, which is what the session may ask in all."""
        self.desk: Desk | None = desk
        self.parallel = parallel
        self._desk = desk
        self._queued: dict[Job, None] = {}
        self._parked: dict[Job, Parked] = {}

    def seconds(self, calls: int) -> float | None:
        """Nobody knows how long an agent takes."""
        del calls
        return None

    def off(self) -> Failed | None:
        """Why nothing is asked of anybody just now: a program runs the step, and answers nothing."""
        return None if self._desk.is_attended else UNATTENDED

    def put(self, job: Job) -> None:
        """Queue a question; `pump` puts it on the desk."""
        job.queued_s = asyncio.get_running_loop().time()
        self._queued[job] = None

    def pump(self) -> None:
        """Put on the desk what the session's limits allow."""
        self._desk.heard()
        while self._queued:
            job = next(iter(self._queued))
            if not self._desk.is_attended:  # it would wait for half an hour
                self._queued.pop(job)
                job.asker.not_sent(job, UNATTENDED)
                continue
            verdict = job.asker.may_send(job)
            if verdict is Verdict.WAIT:
                return
            self._queued.pop(job, None)
            if verdict is Verdict.GO:
                self._park(job)

    def drop(self, job: Job) -> None:
        """Nobody wants its answer any more. What an agent was shown counts, for it may be at work on it."""
        self._queued.pop(job, None)
        one = self._parked.pop(job, None)
        if one is None:
            return
        self._desk.drop(one)
        if one.shown_s is None:
            job.asker.taken_back(job)
        else:
            self._note_times(job, one)
            job.asker.ended(job, Unanswered("stopped", "Nobody waits for the answer any more."))

    def _park(self, job: Job) -> None:
        asked, on_end = job.asked, partial(self._ended, job)
        prompt = asked.prompt if asked.repair is None else REPAIR.format(prompt=asked.prompt, why=asked.repair)
        of = job.question
        self._parked[job] = self._desk.put(prompt, asked.text, asked.schema, step_index=of.step_index, on_end=on_end)

    def _ended(self, job: Job, answer: AnswerGiven | None, by: str) -> None:
        """The desk has an answer, or does not wait any longer."""
        one = self._parked.pop(job)
        if answer is None and one.shown_s is None:
            job.asker.taken_back(job)
            job.asker.not_sent(job, Failed("timeout", NOT_IN_TIME))
            self.pump()
            return
        self._note_times(job, one)
        who = f"agent:{by or PROGRAM}"
        if answer is None:
            job.asker.ended(job, Unanswered("timeout", NOT_IN_TIME))
        elif answer.text is not None:
            job.asker.ended(job, Answer(answer.text, by=who))
        else:
            why = safe_prefix(answer.error or "", DECLINED_CHARS)[0]
            job.asker.ended(job, Unanswered("declined", why, answer=Answer("", 0, 0, by=who)))
        self.pump()

    def _note_times(self, job: Job, one: Parked) -> None:
        now_s = asyncio.get_running_loop().time()
        job.attempts, job.first_s = 1, now_s if one.shown_s is None else one.shown_s
        job.worked_s = now_s - job.first_s
