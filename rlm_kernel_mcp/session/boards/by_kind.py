"""Who answers a session whose code may call functions: those for its calls, and whoever answers models for the rest.

Is: `Answers` of `session/asking/answers.py`, by the kind of each question. A call has its number with a minus where
both are spoken of. Is not: either of the two. Above: `functions.py`. Below: `session/functions/calls.py`,
`session/asking/answers.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rlm_kernel_mcp.session.answering.questions import (
    Answerer,
    Failed,
    Forecast,
    Give,
    Question,
    QuestionsLeft,
    Sketch,
    Source,
    Tally,
)
from rlm_kernel_mcp.session.asking.answers import STOPPED, Answers, Around
from rlm_kernel_mcp.session.functions.calls import FunctionCalls
from rlm_kernel_mcp.session.parked.desk import Desk

OFF: Final = Failed("off", "No language model can be asked here.")


class NoModels:
    """`Answers` where no model is asked. A kernel of ours does not ask; another one is told so."""

    desk: Desk | None = None

    def ask(self, question: Question, give: Give) -> None:
        del question
        give(OFF)

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        """Nothing is open."""

    def end_step(self, step_index: int, source: Source) -> None:
        """Nothing is open."""

    def tally(self, step_index: int) -> Tally:
        del step_index
        return Tally()

    def missed(self, numbers: Iterable[int]) -> None:
        """Nothing was answered."""

    async def forecast(
        self, sketches: Sequence[Sketch], schema: str | None, model: str | None, fresh: bool
    ) -> Forecast:
        del sketches, schema, model, fresh
        return Forecast(0, 0, 0, refusal=OFF)

    def left(self) -> QuestionsLeft:
        return QuestionsLeft(0, 0)

    def answerer(self) -> Answerer:
        return Answerer("none", None, (), "", 0, 0, 0, 0, "")

    def hold(self, held: bool) -> None:
        """Nothing is sent."""


class ByKind(Around):
    """One session's."""

    def __init__(self, models: Answers, calls: FunctionCalls) -> None:
        super().__init__(models)
        self._models, self._calls = models, calls
        self.desk: Desk | None = calls.desk

    def ask(self, question: Question, give: Give) -> None:
        (self._calls if question.kind == "function" else self._models).ask(question, give)

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        questions, calls = list[int](), list[int]()
        for number in numbers:
            (questions if number > 0 else calls).append(abs(number))
        if questions:
            self._models.cancel(questions, why)
        if calls:
            self._calls.cancel(calls, why)

    def end_step(self, step_index: int, source: Source) -> None:
        self._models.end_step(step_index, source)

    def hold(self, held: bool) -> None:
        super().hold(held)
        self._calls.hold(held)
