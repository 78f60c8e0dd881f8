"""Sends the questions of all sessions to the backend, in turn, and once more where that may help.

Is: tasks, deadlines and retries, for all sessions that share a backend. Is not: whose turn it is (`turns.py`), what a
question may cost or who waits for its answer (`broker.py`). Above: `switchboard.py`. Below: `turns.py`,
`jobs.py`, `retrying.py`, `backends/protocol.py`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Backend, Unanswered
from rlm_kernel_mcp.session.answering.jobs import Job
from rlm_kernel_mcp.session.answering.ledger import Verdict
from rlm_kernel_mcp.session.answering.questions import Failed
from rlm_kernel_mcp.session.answering.retrying import PATIENCE_S, pause_s
from rlm_kernel_mcp.session.answering.turns import Turns

log = logging.getLogger(__name__)

DEADLINE_S: Final = 120.0
"""How long a backend may work on one question, all its attempts together."""
DAY_PORTION: Final = 16
"""Of the day's questions so many are taken at a time, as many as wait, or twice as many as the last time where those
were used up within `DAY_PACE_S`."""
DAY_PORTION_MAX: Final = 256
DAY_PACE_S: Final = 1.0
DAY_LOW: Final = 8
"""Where fewer are left of a portion the next one is taken already: a question that waits for it waits for the disk."""
DAY_IS_OVER: Final = Failed(
    "budget", "The day's questions are used up (RLM_SUBCALL_DAY_MAX); they begin anew at 0:00 UTC."
)
STOPPED: Final = "Nobody waits for the answer any more."
DOWN_S: Final = 15.0
"""How long nothing is asked after a reason that is every question's, such as a key that is refused: the user may have
corrected it by then."""
CLOSE_S: Final = 1.0
"""How long the end of what is under way may take."""
REFUSED_AT_ONCE: Final = 200
"""In one turn of the loop: thousands may wait for what comes to be refused."""
_NEW_WEIGHT: Final = 0.1
"""Of one question's duration in the mean of all."""


class Day(Protocol):
    """The questions that all sessions of the user may still ask today."""

    async def grant(self, wanted: int) -> int:
        """Take so many of them, or what is left."""

    def give_back(self, unused: int) -> None:
        """These were not asked."""


class Sender:
    """One backend's. Belongs to one event loop."""

    desk = None
    """It waits for nobody who would have to look."""

    def __init__(
        self,
        backend: Backend,
        turns: Turns[Job],
        day: Day | None = None,
        deadline_s: float = DEADLINE_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._backend = backend
        self._turns = turns
        self._day = day
        self._deadline_s = deadline_s
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._down: Failed | None = None
        self._down_until_s = math.inf
        self._closed_until_s = 0.0
        self._granted = 0
        self._granting: asyncio.Task[None] | None = None
        self._portion, self._taken_s = 0, -math.inf
        """Of the day's questions how many were taken last, and when."""
        self._wake: asyncio.TimerHandle | None = None
        self._refused = 0
        """In this turn of the loop."""
        self._mean_s: float | None = None
        """How long answers have taken lately."""

    @property
    def parallel(self) -> int:
        """How many questions are asked at once, of all sessions."""
        return self._turns.parallel

    def seconds(self, calls: int) -> float | None:
        """How long so many may take, by what answers have taken lately; None: there were none."""
        return None if self._mean_s is None else self._turns.rounds(calls) * self._mean_s

    def off(self) -> Failed | None:
        """Why nothing can be asked, for the time being or at all."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._down_until_s:
            self._down, self._down_until_s = None, math.inf
        if self._down is not None and self._down_until_s < math.inf:
            again = f"Nothing is sent before it is tried again, in {self._down_until_s - now_s:,.0f} s."
            return Failed(self._down.code, f"{self._down.message} {again}")
        left_s = self._closed_until_s - now_s
        if self._down is not None or left_s <= 0:
            return self._down
        return Failed("rate_limited", f"The endpoint asks not to be asked for another {left_s:,.0f} s.")

    def put(self, job: Job) -> None:
        """Queue a question; `pump` sends it."""
        job.queued_s = asyncio.get_running_loop().time()
        self._turns.put(job.whose, job)

    def drop(self, job: Job) -> None:
        """Nobody wants its answer any more: what was begun is ended."""
        self._turns.drop(job.whose, job)
        if job.task is not None:
            job.task.cancel()
        elif job.attempts:  # it waited to be sent once more
            job.asker.ended(job, Unanswered("stopped", STOPPED))

    def pump(self) -> None:
        """Send what may be sent now."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()  # read once: what comes due between two looks at the clock is neither taken nor waited for
        self._refused = 0
        while (job := self._turns.take(now_s, self._admit)) is not None:
            job.begun_s = now_s
            job.first_s = job.first_s if job.attempts else job.begun_s
            job.attempts, job.outcome, job.is_begun = job.attempts + 1, None, False
            job.task = loop.create_task(self._ask(job), name="question to a model")
            self._tasks.add(job.task)
            job.task.add_done_callback(partial(self._ended, job))
        if self._refused >= REFUSED_AT_ONCE:
            loop.call_soon(self.pump)
        self._set_wake(loop, now_s)

    async def close(self) -> None:
        """End what was begun. Safe to call twice."""
        self._down, self._down_until_s = Failed("gone", "The server has ended."), math.inf
        if self._wake is not None:
            self._wake.cancel()
        for task in self._tasks:
            task.cancel()
        # What is being taken of the day is waited for: the store takes it, whoever waits, and it is given back below.
        if tasks := [*self._tasks, *([self._granting] if self._granting else [])]:
            await asyncio.wait(tasks, timeout=CLOSE_S)
        if self._day is not None and self._granted:
            self._day.give_back(self._granted)
            self._granted = 0
        await self._backend.close()

    def _admit(self, job: Job) -> Verdict:
        if self._refused >= REFUSED_AT_ONCE:
            return Verdict.WAIT
        verdict = self._verdict(job)
        self._refused += verdict is Verdict.NO
        return verdict

    def _verdict(self, job: Job) -> Verdict:
        why = self.off()
        if job.attempts and why is None:
            return Verdict.GO  # its cost is set aside, and it was counted
        if why is not None:
            if job.attempts:
                job.asker.ended(job, Unanswered(why.code, why.message))
            else:
                job.asker.not_sent(job, why)
            return Verdict.NO
        if self._day is not None and not self._granted:
            self._ask_for_more(self._day)
            return Verdict.WAIT
        verdict = job.asker.may_send(job)
        if verdict is Verdict.GO and self._day is not None:
            self._granted -= 1
            if self._granted < DAY_LOW:
                self._ask_for_more(self._day)
        return verdict

    def _ask_for_more(self, day: Day) -> None:
        if self._granting is None:
            now_s = asyncio.get_running_loop().time()
            paced = self._portion * 2 if now_s < self._taken_s + DAY_PACE_S else 0
            wanted = min(max(DAY_PORTION, self._turns.waiting, paced), DAY_PORTION_MAX)
            self._portion, self._taken_s = wanted, now_s
            self._granting = asyncio.create_task(self._grant(day, wanted), name="questions of the day")

    async def _grant(self, day: Day, wanted: int) -> None:
        try:
            granted = await day.grant(wanted)
            self._granted += granted  # not in one: some of those that were left may have been used meanwhile
            while not self._granted and (jobs := self._turns.take_some(lambda job: not job.attempts, REFUSED_AT_ONCE)):
                for job in jobs:
                    job.asker.not_sent(job, DAY_IS_OVER)
                await asyncio.sleep(0)
        finally:
            self._granting = None
        self.pump()

    async def _ask(self, job: Job) -> None:
        """Where this is cancelled when there is an answer already, that is kept."""
        job.is_begun = True
        try:
            async with asyncio.timeout(max(self._deadline_s - job.worked_s, 0.0)):
                job.outcome = await self._backend.answer(job.asked)
        except Unanswered as unanswered:
            job.outcome = unanswered
        except TimeoutError:
            message = f"There was no answer within {self._deadline_s:,.0f} s."
            job.outcome = Unanswered("timeout", message, is_paid=True)
        except Exception as error:  # noqa: BLE001 (whatever a backend raises, its question gets an answer)
            # Without its text, which may hold the key.
            log.error("a question could not be asked: %s", type(error).__name__)
            job.outcome = Unanswered("backend", "The question could not be asked; the server's log says more.")
        self._has_ended(job)

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if job.task is not task:
            return
        if job.is_begun:  # it was cancelled
            self._has_ended(job)
        else:
            self._was_not_begun(job)

    def _was_not_begun(self, job: Job) -> None:
        """It was cancelled in the turn of the loop in which it was to be sent: nobody has seen this attempt."""
        self._turns.done()
        job.task = None
        job.attempts -= 1
        if job.attempts:
            job.asker.ended(job, Unanswered("stopped", STOPPED))
        else:
            self._granted += self._day is not None
            job.asker.taken_back(job)
            if job.waiting:  # the server ends
                job.asker.not_sent(job, self._down or Failed("stopped", STOPPED))
        self.pump()

    def _has_ended(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        self._turns.done()
        job.task = None
        outcome = job.outcome
        took_s = loop.time() - job.begun_s
        job.worked_s += took_s
        if isinstance(outcome, Answer):
            self._mean_s = took_s if self._mean_s is None else self._mean_s + (took_s - self._mean_s) * _NEW_WEIGHT
        elif outcome is not None and self._is_asked_again(job, outcome):
            return
        job.asker.ended(job, job.outcome)
        self.pump()

    def _is_asked_again(self, job: Job, unanswered: Unanswered) -> bool:
        now_s = asyncio.get_running_loop().time()
        pause = pause_s(unanswered, job.attempts, self._chance())
        self._heed(unanswered, now_s, pause)
        if pause is None or not job.waiting or job.worked_s >= self._deadline_s:
            return False
        if lack := job.asker.may_ask_again(job):
            message = f"{unanswered.message} It was not asked again, which does not fit: {lack}."
            job.outcome = Unanswered(unanswered.code, message, is_paid=unanswered.is_paid, answer=unanswered.answer)
            return False
        job.note_attempt()
        self._turns.put_later(job.whose, job, now_s + pause)
        self.pump()
        return True

    def _heed(self, unanswered: Unanswered, now_s: float, pause: float | None) -> None:
        """What the endpoint says to all."""
        asked_s = unanswered.retry_after_s
        if unanswered.is_for_all and self._down is None:
            self._down, self._down_until_s = Failed(unanswered.code, unanswered.message), now_s + DOWN_S
            log.warning("no question of a session is asked for %.0f s: %s", DOWN_S, unanswered.message)
        elif asked_s is not None and asked_s > PATIENCE_S:
            self._closed_until_s = max(self._closed_until_s, now_s + asked_s)
        elif unanswered.code == "rate_limited":
            self._turns.hold_until(now_s + (asked_s or pause or 0.0))

    def _set_wake(self, loop: asyncio.AbstractEventLoop, taken_s: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        at_s = self._turns.wake_at(taken_s)
        self._wake = None if at_s is None else loop.call_at(at_s, self.pump)
