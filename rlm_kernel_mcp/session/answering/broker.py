"""Answers one session's questions: from the cache, by way of a question that is asked already, or by the backend.

Is: who waits for which answer, what is kept of it, and the session's limits. Is not: the channel over which a kernel
asks (`questions.py` is what both know), the sending (`sending.py`), nor the account of it (`tallies.py`). It never
looks into a schema. Belongs to one event loop. Above: `switchboard.py`, `session/asking/`. Below: `jobs.py`,
`ledger.py`, `tallies.py`, `keeping.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rlm_kernel_mcp.questions_wire import digest_of
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Facts
from rlm_kernel_mcp.session.answering.jobs import Job, Outcome, Sending, Waiting
from rlm_kernel_mcp.session.answering.keeping import (
    NOBODY,
    NOTHING,
    Books,
    Fate,
    Kept,
    KeptAnswers,
    Said,
    Spent,
)
from rlm_kernel_mcp.session.answering.ledger import Ledger, Verdict
from rlm_kernel_mcp.session.answering.questions import (
    Answered,
    Answerer,
    Failed,
    Forecast,
    Give,
    Given,
    Question,
    QuestionsLeft,
    Sketch,
    Source,
    Tally,
)
from rlm_kernel_mcp.session.answering.tallies import Record
from rlm_kernel_mcp.session.parked.desk import Desk

FRAME_BYTES: Final = 600
"""What is sent beside a question's own texts, about."""
AT_ONCE: Final = 200
"""More questions than these are sized in a thread."""
STOPPED: Final = Failed("stopped", "Nobody waits for the answer any more.")
OTHER_KIND: Final = Failed("refused", "Nobody answers questions of this kind.")

Place = tuple[str, bool, str | None]
"""Questions with the same one are asked once."""


class Broker:
    """One session's."""

    def __init__(
        self, session_id: str, sender: Sending, facts: Facts, ledger: Ledger, books: Books, off: Failed | None = None
    ) -> None:
        """`off`: why nothing is answered."""
        self._off = off
        self._session_id, self._sender = session_id, sender
        self.desk: Desk | None = sender.desk
        self.model, self.has_tools, self.why_off = facts.model, facts.has_tools, sender.off
        self._facts = facts
        self.ledger = ledger
        ledger.freed = lambda: asyncio.get_running_loop().call_soon(sender.pump)
        self._kept = KeptAnswers(session_id, facts, books, has_own=ledger.used.subcalls > 0)
        self.record = Record(session_id, facts, books)
        self._jobs: dict[Place, Job] = {}
        self._open: dict[int, Job] = {}
        self._new: list[Job] = []
        self._is_grouping = False
        """Whether one was looked up in this turn of the loop: the others of it are, together, in the next."""
        self._looking: asyncio.Task[None] | None = None
        """Looks some up in a thread. What comes meanwhile waits for that: questions are sent in their order."""
        self._held = False
        if self.desk is not None:
            self.desk.are_coming = lambda: self._looking is not None or bool(self._new)

    def ask(self, question: Question, give: Give) -> None:
        """Have a question answered. `give` is called once, unless it is cancelled before. Never raises."""
        self.record.step.begin(question)
        model = question.model or self._facts.model
        if (why := self.refusal(model, question)) is not None:
            self.record.ended(question, "failed", why)
            give(why)
            return
        key = self._kept.keys_of(model, question.schema).of(digest_of(question.prompt, question.text))
        if (found := self.record.step.remembered(question, key)) is not None:
            self.record.ended(question, "duplicate", Answered(found[1]), duplicate_of=found[0])
            give(Answered(found[1]))
            return
        place = (key, question.fresh, question.repair)
        if (job := self._jobs.get(place)) is None:
            job = self._jobs[place] = self._job(question, key, model)
            self._new.append(job)
        job.waiting[question.number] = Waiting(question, give)
        self._open[question.number] = job
        if self._new and not self._is_grouping and self._looking is None:
            self._is_grouping = True
            asyncio.get_running_loop().call_soon(self._look_up_others)
            self._look_up()

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        """Nobody waits for these any more, which is booked as `why`. What comes of them all the same is kept."""
        dropped = []
        for number in numbers:
            if (job := self._open.pop(number, None)) is None:
                continue
            self.record.ended(job.waiting.pop(number).question, "failed", why)
            if not job.waiting:
                dropped.append(job)
        for job in dropped:
            self._forget(job)
            self._sender.drop(job)
        if dropped:
            self._sender.pump()

    def end_step(self, step_index: int, source: Source) -> None:
        """The step is over: what it has asked is stopped."""
        askers = ((number, job.waiting[number].question) for number, job in self._open.items())
        self.cancel([number for number, one in askers if (one.step_index, one.source) == (step_index, source)])
        self.record.end_step(step_index)

    def missed(self, numbers: Iterable[int]) -> None:
        """The kernel says that answers of the running step did not have their schema."""
        self.record.missed(numbers)

    def tally(self, step_index: int) -> Tally:
        """What has become of the questions of the step that runs, or of the last one."""
        return self.record.step.tally(step_index)

    async def forecast(
        self, sketches: Sequence[Sketch], schema: str | None, model: str | None, fresh: bool
    ) -> Forecast:
        """What a batch would take, less duplicates and what is kept."""
        model = model or self._facts.model
        # A batch may be long: what takes some us of each question does not belong into the loop.
        keys, more = self._kept.keys_of(model, schema), FRAME_BYTES + len(schema or "")
        is_short = len(sketches) <= AT_ONCE
        sizes = keys.sizes(sketches, more) if is_short else await asyncio.to_thread(keys.sizes, sketches, more)
        wanted = [key for key in sizes if (key, fresh, None) not in self._jobs]
        if not fresh:
            found = self._kept.at_once(wanted)
            kept = await self._kept.waited_for(wanted) if found is None else found
            wanted = [key for key in wanted if key not in kept]
        forecast = self.ledger.forecast([sizes[key] for key in wanted], self._sender.seconds(len(wanted)))
        why = self.refusal(model) or forecast.refusal or (self._sender.off() if wanted else None)
        return replace(forecast, refusal=why)

    def left(self) -> QuestionsLeft:
        """What is left of the limits."""
        left = self.ledger.left
        return QuestionsLeft(left.subcalls, left.tokens, left.usd)

    def answerer(self) -> Answerer:
        """Who answers, and within which limits."""
        facts, limits = self._facts, self.ledger.limits
        return Answerer(
            backend=facts.name,
            model=facts.model or None,
            models=(facts.model, *facts.models),
            where=facts.where,
            parallel=self._sender.parallel,
            depth=1,
            max_subcalls=limits.subcalls,
            subcall_tokens_limit=limits.tokens,
            how=facts.how,
            wait_limit_ms=facts.wait_limit_ms,
        )

    def hold(self, held: bool) -> None:
        """While held, nothing of this session is sent: its kernel does not take its answers."""
        self._held = held
        if not held:
            self._sender.pump()

    # What the sender asks and tells: `Asker`.

    def may_send(self, job: Job) -> Verdict:
        """Whether it is within the limits; then its cost is set aside."""
        if self._held:
            return Verdict.WAIT
        verdict = self.ledger.set_aside(job.cost)
        if verdict is Verdict.NO:
            self._settle(job, Failed("budget", self.ledger.too_much(job.cost)))
        return verdict

    def may_ask_again(self, job: Job) -> str:
        """Set aside what it may cost beside what it has used; empty, or which limit is in the way."""
        set_aside = self.ledger.set_aside_again(job.cost, *job.used(job.outcome))
        if isinstance(set_aside, str):
            return set_aside
        job.cost = set_aside
        return ""

    def not_sent(self, job: Job, why: Failed) -> None:
        """It got no turn."""
        self._settle(job, why)

    def taken_back(self, job: Job) -> None:
        """It had one, and nobody has seen it."""
        self.ledger.give_back(job.cost)

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """Count what it took, and give the answer to all who wait for it."""
        spent = self.ledger.settle(job.cost, job.spent(outcome))
        self.record.step.sums(job.question).charge(spent)
        told = outcome if isinstance(outcome, Answer) else outcome and outcome.answer
        said = Said(told.model_said, told.by) if told else NOBODY
        given: Given = STOPPED
        if isinstance(outcome, Answer):
            self._kept.keep(job.question, job.key, Kept(outcome.text, outcome.model_said))
            given = Answered(outcome.text, outcome.calls)
        elif outcome is not None:
            given = Failed(outcome.code, outcome.message)
        if job.waiting:
            self._settle(job, given, spent=spent, said=said)
        else:
            self._forget(job)
            self.record.ended(job.question, "late", given, spent=spent, said=said)

    # Inside

    def refusal(self, model: str, question: Question | None = None) -> Failed | None:
        """`question`: None, of a forecast."""
        if self._off is not None:
            return self._off
        if question is not None and question.kind == "function":
            return OTHER_KIND
        why = self._facts.refusal(model, is_console=question is not None and question.source == "console")
        return None if why is None else Failed("refused", why)

    def _job(self, question: Question, key: str, model: str) -> Job:
        texts = (question.prompt, question.text or "", question.schema or "", question.repair or "")
        size = sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)
        asked = Asked(question.prompt, question.text, model, question.schema, question.repair, question.conversation)
        size += 0 if question.conversation is None else question.conversation.utf8_bytes
        return Job(self, self._session_id, key, question, asked, self.ledger.cost(size + FRAME_BYTES))

    def _forget(self, job: Job) -> None:
        """An equal question that comes from now on is one of its own."""
        place = (job.key, job.question.fresh, job.question.repair)
        if self._jobs.get(place) is job:
            del self._jobs[place]

    def _look_up_others(self) -> None:
        self._is_grouping = False
        if self._new and self._looking is None:
            self._look_up()

    def _look_up(self) -> None:
        jobs, keys = self._take_new()
        found = self._kept.at_once(keys) if keys else {}
        if found is not None:
            self._looked_up(jobs, found)
        else:
            self._looking = asyncio.create_task(self._look_up_slowly(jobs, keys), name="answers that are kept")

    async def _look_up_slowly(self, jobs: list[Job], keys: list[str]) -> None:
        while jobs:
            self._looked_up(jobs, await self._kept.waited_for(keys))
            jobs, keys = self._take_new()
        self._looking = None
        self._sender.pump()

    def _take_new(self) -> tuple[list[Job], list[str]]:
        jobs, self._new = [job for job in self._new if job.waiting], []
        return jobs, [job.key for job in jobs if job.may_be_kept]

    def _looked_up(self, jobs: list[Job], found: Mapping[str, Kept]) -> None:
        for job in [job for job in jobs if job.waiting]:  # others were cancelled meanwhile
            kept = found.get(job.key) if job.may_be_kept else None
            if kept is None:
                self._sender.put(job)
            else:
                self._settle(job, Answered(kept.text), fate="cached", said=Said(kept.model_said))
        self._sender.pump()

    def _settle(
        self, job: Job, given: Given, *, fate: Fate = "answered", spent: Spent = NOTHING, said: Said = NOBODY
    ) -> None:
        """Give it to all who wait for it; the first is the one whose question it was."""
        self._forget(job)
        waiting, job.waiting = list(job.waiting.values()), {}
        first = waiting[0].question
        if isinstance(given, Answered):
            self.record.step.remember(first, job.key, given.text)
        for one in waiting:
            del self._open[one.question.number]
            if one.question is first:
                self.record.ended(first, fate, given, spent=spent, said=said)
            else:
                self.record.ended(one.question, "duplicate", given, duplicate_of=first.number, said=said)
        for one in waiting:
            one.give(given)
