"""What has become of a session's questions: counted and remembered while their step runs, and booked.

Is: sums, the answers of the batch that is being asked, the rows of answers that may turn out not to have their schema,
and what is written of each question. A question that is asked once more for its schema's sake is one in the sums, where
the code has asked one, and two in the trace. Is not: whoever keeps that (`keeping.py`). Sans-I/O. Above: `broker.py`.
Below: `questions.py`, `keeping.py`, `backends/protocol.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.session.answering.backends.protocol import Facts
from rlm_kernel_mcp.session.answering.keeping import NOBODY, NOTHING, Books, Entry, Fate, Said, Spent
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Given, Question, Source, Tally

REMEMBERED_CHARS: Final = 16_000_000
"""Of the answers of one batch: equal questions of it are asked once, also where nothing is kept."""


@dataclass(slots=True)
class Sums:
    """Of one step."""

    asked: int = 0
    answered: int = 0
    cached: int = 0
    duplicate: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = None

    def count(self, fate: Fate, code: str | None = None, by: int = 1) -> None:
        """A question has ended; `code`: why it has no answer."""
        if code is not None:
            self.failed[code] += by
        elif fate == "answered":
            self.answered += by
        elif fate == "cached":
            self.cached += by
        elif fate == "duplicate":
            self.duplicate += by

    def charge(self, spent: Spent) -> None:
        """A question was sent, and this is what it took."""
        self.tokens_in += spent.tokens_in
        self.tokens_out += spent.tokens_out
        if spent.usd is not None:
            self.usd = (self.usd or 0.0) + spent.usd

    def tally(self) -> Tally:
        """As it stands."""
        return Tally(
            asked=self.asked,
            answered=self.answered,
            cached=self.cached,
            duplicate=self.duplicate,
            failed=dict(self.failed),
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            usd=self.usd,
        )


class CurrentStep:
    """The step that asks, or the last one that did; a console's cell has no sums."""

    def __init__(self) -> None:
        self._index = 0
        self._sums = Sums()
        self._batch: tuple[Source, int, int] | None = None
        self._answers: dict[str, tuple[int, str]] = {}
        self._room_chars = REMEMBERED_CHARS
        self._rows: dict[int, tuple[int, Fate]] = {}
        """Of answers that the kernel has yet to look at."""
        self._unchecked: dict[int, list[int]] = {}
        """Their numbers, by the names of the questions that would be asked in their place."""
        self._unfit: list[int] = []
        """Rows of answers in whose place another question was asked."""

    def begin(self, question: Question) -> None:
        """A question is asked, of a step and a batch that may be new ones."""
        if question.source == "mcp" and question.step_index != self._index:
            self._index, self._sums, self._rows, self._unchecked = question.step_index, Sums(), {}, {}
        batch = (question.source, question.step_index, question.batch)
        if batch != self._batch:
            self._batch, self._answers, self._room_chars = batch, {}, REMEMBERED_CHARS
        if question.repair is None or not self._is_in_place_of_another(question):
            self.sums(question).asked += 1

    def _is_in_place_of_another(self, question: Question) -> bool:
        """Whether it is asked once more, as the kernel says; then the answer before does not count as one any more."""
        if question.source != "mcp":
            return False
        for name in (_name_of(question), _name_of_found(question.schema, question.text)):
            numbers = self._unchecked.get(name, [])
            while numbers:
                row_id, fate = self._rows.pop(numbers.pop(), (0, None))
                if fate is not None:
                    self._sums.count(fate, by=-1)
                    self._unfit.append(row_id)
                    return True
        return False

    def end(self, step_index: int) -> list[int]:
        """Of that step nothing has to be remembered any more; another one may have begun.

        Returns the rows of answers that did not have their schema, and were not told of yet.
        """
        if self._batch is not None and self._batch[1] == step_index:
            self._batch, self._answers = None, {}
        if self._index == step_index:
            self._rows, self._unchecked = {}, {}
        unfit, self._unfit = self._unfit, []
        return unfit

    def sums(self, question: Question) -> Sums:
        """Those that a question counts for."""
        return self._sums if question.source == "mcp" and question.step_index == self._index else Sums()

    def tally(self, step_index: int) -> Tally:
        """Of a step; nothing where it is not this one."""
        return (self._sums if step_index == self._index else Sums()).tally()

    def remember(self, question: Question, key: str, answer: str) -> None:
        """An equal question of the same batch has this answer."""
        if (question.source, question.step_index, question.batch) == self._batch and len(answer) <= self._room_chars:
            self._answers[key] = (question.number, answer)
            self._room_chars -= len(answer)

    def remembered(self, question: Question, key: str) -> tuple[int, str] | None:
        """Whose question it was in this batch, and its answer."""
        return None if question.repair is not None else self._answers.get(key)

    def note_row(self, question: Question, answer: str, row_id: int, fate: Fate) -> None:
        """It has an answer, which the kernel has yet to look at."""
        if question.schema is not None and question.source == "mcp":
            self._rows[question.number] = (row_id, fate)
            is_found = question.kind == "rlm"  # a model is asked about what was found, and not the same once more
            name = _name_of_found(question.schema, answer) if is_found else _name_of(question)
            self._unchecked.setdefault(name, []).append(question.number)

    def missed(self, number: int) -> int | None:
        """The answer did not have the schema; returns its row, if it is this step's. It has failed, and counts once."""
        row_id, fate = self._rows.pop(number, (None, None))
        if fate is not None:
            self._sums.count(fate, by=-1)
            self._sums.count("failed", "schema")
        return row_id


class Record:
    """One session's: each question is counted for its step, and booked."""

    def __init__(self, session_id: str, facts: Facts, books: Books) -> None:
        self._session_id, self._facts, self._books = session_id, facts, books
        self.step = CurrentStep()

    def ended(
        self,
        question: Question,
        fate: Fate,
        given: Given,
        *,
        duplicate_of: int | None = None,
        spent: Spent = NOTHING,
        said: Said = NOBODY,
    ) -> None:
        """This has become of a question."""
        code = given.code if isinstance(given, Failed) else None
        if fate != "late":
            self.step.sums(question).count(fate, code)
        row_id = self._books.write(
            self._session_id,
            Entry(
                question=question,
                model=question.model or self._facts.model,
                fate="failed" if code is not None and fate != "late" else fate,
                answer=given.text if isinstance(given, Answered) else None,
                error_code=code,
                duplicate_of=duplicate_of,
                said=said,
                spent=spent,
            ),
        )
        if fate != "late" and isinstance(given, Answered):
            self.step.note_row(question, given.text, row_id, fate)

    def end_step(self, step_index: int) -> None:
        """The step is over. Only now, and all at once: each such row is written anew."""
        if row_ids := self.step.end(step_index):
            self._books.note_missed(self._session_id, row_ids)

    def missed(self, numbers: Iterable[int]) -> None:
        """Answers of the running step did not have their schema."""
        row_ids = [row_id for number in numbers if (row_id := self.step.missed(number)) is not None]
        if row_ids:
            self._books.note_missed(self._session_id, row_ids)


def _name_of(question: Question) -> int:
    """Of a question that is the same for the one who asks it."""
    return hash((question.schema, question.prompt, question.text))


def _name_of_found(schema: str | None, text: str | None) -> int:
    """Of a question that brings into form what a child session has found."""
    return hash((schema, text))
