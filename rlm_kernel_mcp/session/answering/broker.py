"""Answers one session's questions: from the cache, by way of a question that is asked already, or by the backend.

Is: who waits for which answer, what is kept, counted and booked of it, and the session's limits. Is not: the channel
over which a kernel asks (`questions.py` is what both know), nor the sending (`sending.py`). It never looks into a
schema. Belongs to one event loop. Above: `switchboard.py`. Below: `sending.py`, `ledger.py`, `tallies.py`,
`keeping.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rlm_kernel_mcp.questions_wire import digest_of
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Facts
from rlm_kernel_mcp.session.answering.jobs import Job, Outcome, Waiting
from rlm_kernel_mcp.session.answering.keeping import NOTHING, Books, Entry, Fate, Kept, Spent, key_of
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
from rlm_kernel_mcp.session.answering.sending import Sender
from rlm_kernel_mcp.session.answering.tallies import CurrentStep

FRAME_BYTES: Final = 600
"""What is sent beside a question's own texts, about."""
STOPPED: Final = Failed("stopped", "Nobody waits for the answer any more.")

Place = tuple[str, bool, str | None]
"""Questions with the same one are asked once."""


class Broker:
    """One session's."""

    def __init__(
        self, session_id: str, sender: Sender, facts: Facts, ledger: Ledger, books: Books, off: Failed | None = None
    ) -> None:
        """`off`: why nothing is answered."""
        self._off = off
        self._session_id = session_id
        self._sender = sender
        self._facts = facts
        self._ledger = ledger
        self._books = books
        self._step = CurrentStep()
        self._jobs: dict[Place, Job] = {}
        self._open: dict[int, Job] = {}
        self._new: list[Job] = []
        self._looking: set[asyncio.Task[None]] = set()
        self._held = self._closed = False

    def ask(self, question: Question, give: Give) -> None:
        """Have a question answered. `give` is called once, unless it is cancelled before. Never raises."""
        self._step.begin(question)
        model = question.model or self._facts.model
        if (why := self._refusal(model)) is not None:
            self._book(question, "failed", why)
            give(why)
            return
        key = key_of(self._facts, digest_of(question.prompt, question.text), model, question.schema)
        if (found := self._step.remembered(question, key)) is not None:
            self._book(question, "duplicate", Answered(found[1]), duplicate_of=found[0])
            give(Answered(found[1]))
            return
        place = (key, question.fresh, question.repair)
        if (job := self._jobs.get(place)) is None:
            job = self._jobs[place] = self._job(question, key, model)
            if not self._new:
                asyncio.get_running_loop().call_soon(self._look_up)
            self._new.append(job)
        job.waiting[question.number] = Waiting(question, give)
        self._open[question.number] = job

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        """Nobody waits for these any more, which is booked as `why`. What comes of them all the same is kept."""
        dropped = []
        for number in numbers:
            if (job := self._open.pop(number, None)) is None:
                continue
            self._book(job.waiting.pop(number).question, "failed", why)
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
        self._step.end()

    def missed(self, number: int) -> None:
        """The kernel says that an answer of the running step did not have its schema."""
        if (row_id := self._step.missed(number)) is not None:
            self._books.note_missed(self._session_id, row_id)

    def tally(self, step_index: int) -> Tally:
        """What has become of the questions of the step that runs, or of the last one."""
        return self._step.tally(step_index)

    async def forecast(
        self, sketches: Sequence[Sketch], schema: str | None, model: str | None, fresh: bool
    ) -> Forecast:
        """What a batch would take, less duplicates and what is kept."""
        model = model or self._facts.model
        sizes = {key_of(self._facts, one.digest, model, schema): one.utf8_bytes for one in sketches}
        wanted = [key for key in sizes if (key, fresh, None) not in self._jobs]
        if not fresh:
            found = self._books.kept_at_once(wanted)
            kept = await self._books.kept(wanted) if found is None else found
            wanted = [key for key in wanted if key not in kept]
        costs = [self._ledger.cost(sizes[key] + FRAME_BYTES + len(schema or "")) for key in wanted]
        forecast = self._ledger.forecast(costs, self._sender.seconds(len(costs)))
        why = self._refusal(model) or (self._sender.off() if costs else None)
        return forecast if why is None else replace(forecast, refusal=why)

    def left(self) -> QuestionsLeft:
        """What is left of the limits."""
        left = self._ledger.left
        return QuestionsLeft(left.subcalls, left.tokens, left.usd)

    def answerer(self) -> Answerer:
        """Who answers, and within which limits."""
        facts, limits = self._facts, self._ledger.limits
        return Answerer(
            backend=facts.name,
            model=facts.model,
            models=(facts.model, *facts.models),
            where=facts.where,
            parallel=self._sender.parallel,
            depth=1,
            max_subcalls=limits.subcalls,
            subcall_tokens_limit=limits.tokens,
            how=facts.how,
        )

    def hold(self, held: bool) -> None:
        """While held, nothing of this session is sent: its kernel does not take its answers."""
        self._held = held
        if not held:
            self._sender.pump()

    async def close(self) -> None:
        """The session or its server ends. Safe to call twice."""
        self._closed = True
        self.cancel(list(self._open))
        for task in self._looking:
            task.cancel()
        if self._looking:
            await asyncio.wait(self._looking)

    # What the sender asks and tells: `Asker`.

    def may_send(self, job: Job) -> Verdict:
        """Whether it is within the limits; then its cost is set aside."""
        if self._held:
            return Verdict.WAIT
        verdict = self._ledger.set_aside(job.cost)
        if verdict is Verdict.NO:
            lack = self._ledger.lacks(1, job.cost.tokens_most, job.cost.usd_most)
            what = f"The question, with up to {job.cost.tokens_most:,} tokens,"
            self._settle(job, Failed("budget", f"{what} does not fit: {lack}. It was not asked."))
        return verdict

    def not_sent(self, job: Job, why: Failed) -> None:
        """It got no turn."""
        self._settle(job, why)

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """Count what it took, and give the answer to all who wait for it."""
        spent = self._ledger.settle(job.cost, job.spent(outcome))
        self._step.sums(job.question).charge(spent)
        said = outcome.model_said if isinstance(outcome, Answer) else ""
        given: Given = STOPPED
        if isinstance(outcome, Answer):
            self._books.keep(self._session_id, job.key, Kept(outcome.text, said))
            given = Answered(outcome.text)
        elif outcome is not None:
            given = Failed(outcome.code, outcome.message)
        if job.waiting:
            self._settle(job, given, spent=spent, said=said)
        else:
            self._forget(job)
            self._book(job.question, "late", given, spent=spent, said=said)

    # Inside

    def _refusal(self, model: str) -> Failed | None:
        if self._closed:
            return Failed("gone", "The session has ended.")
        if self._off is not None:
            return self._off
        if model not in (known := (self._facts.model, *self._facts.models)):
            what = f"The model {model[:100]!r} may not be named here, which is the user's policy (RLM_SUBCALL_MODELS)"
            return Failed("refused", f"{what}; those that may: {', '.join(known)}.")
        return None

    def _job(self, question: Question, key: str, model: str) -> Job:
        texts = (question.prompt, question.text or "", question.schema or "", question.repair or "")
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        asked = Asked(question.prompt, question.text, model, question.schema, question.repair)
        return Job(self, self._session_id, key, question, asked, self._ledger.cost(size + FRAME_BYTES))

    def _forget(self, job: Job) -> None:
        """An equal question that comes from now on is one of its own."""
        place = (job.key, job.question.fresh, job.question.repair)
        if self._jobs.get(place) is job:
            del self._jobs[place]

    def _look_up(self) -> None:
        """All that came in one turn of the loop are looked up together."""
        jobs, self._new = [job for job in self._new if job.waiting], []
        keys = [job.key for job in jobs if job.may_be_kept]
        found = self._books.kept_at_once(keys) if keys else {}
        if found is not None:
            self._looked_up(jobs, found)
            return
        task = asyncio.get_running_loop().create_task(self._look_up_slowly(jobs, keys), name="answers that are kept")
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _look_up_slowly(self, jobs: list[Job], keys: list[str]) -> None:
        self._looked_up(jobs, await self._books.kept(keys))

    def _looked_up(self, jobs: list[Job], found: Mapping[str, Kept]) -> None:
        for job in [job for job in jobs if job.waiting]:  # others were cancelled meanwhile
            kept = found.get(job.key) if job.may_be_kept else None
            if kept is None:
                self._sender.put(job)
            else:
                self._settle(job, Answered(kept.text), fate="cached", said=kept.model_said)
        self._sender.pump()

    def _settle(
        self, job: Job, given: Given, *, fate: Fate = "answered", spent: Spent = NOTHING, said: str = ""
    ) -> None:
        """Give it to all who wait for it; the first is the one whose question it was."""
        self._forget(job)
        waiting, job.waiting = list(job.waiting.values()), {}
        first = waiting[0].question
        if isinstance(given, Answered):
            self._step.remember(first, job.key, given.text)
        for one in waiting:
            del self._open[one.question.number]
            if one.question is first:
                self._book(first, fate, given, spent=spent, said=said)
            else:
                self._book(one.question, "duplicate", given, duplicate_of=first.number, said=said)
        for one in waiting:
            one.give(given)

    def _book(
        self,
        question: Question,
        fate: Fate,
        given: Given,
        *,
        duplicate_of: int | None = None,
        spent: Spent = NOTHING,
        said: str = "",
    ) -> None:
        code = given.code if isinstance(given, Failed) else None
        if fate != "late":
            self._step.sums(question).count(fate, code)
        row_id = self._books.write(
            self._session_id,
            Entry(
                question=question,
                model=question.model or self._facts.model,
                fate="failed" if code is not None and fate != "late" else fate,
                answer=given.text if isinstance(given, Answered) else None,
                error_code=code,
                duplicate_of=duplicate_of,
                model_said=said,
                spent=spent,
            ),
        )
        if fate != "late" and code is None:
            self._step.note_row(question, row_id)
