"""Who answers in tests of the channel: nobody but the test itself, in the session's own process.

Is: `Answers` of `session/asking/questions.py` by a rule or by hand. Is not: a budget, a cache or a backend.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rlm_kernel_mcp.session.account import Account
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
from rlm_kernel_mcp.session.parked.desk import Desk
from tests.sessions import WAIT_S

STOPPED: Final = Failed("stopped", "nobody waits any more")
Rule = Callable[[Question], Given | None]


def echo(question: Question) -> Given:
    """What was asked, as the answer."""
    return Answered(f"{question.prompt}|{question.text}")


def nothing(question: Question) -> None:
    """It stays open."""


class ScriptedAnswers:
    """One session's."""

    desk: Desk | None = None

    def __init__(self, account: Account) -> None:
        self._account = account
        self.rule: Rule = echo
        self.asked: list[Question] = []
        self.open: dict[int, Give] = {}
        self.missed_numbers: list[int] = []
        self.cancelled: list[list[int]] = []
        self.held: list[bool] = []
        self.refusal: Failed | None = None
        self._changed = asyncio.Event()
        self._failed: Counter[str] = Counter()
        self._answered = 0
        self._step = 0

    def ask(self, question: Question, give: Give) -> None:
        if question.step_index != self._step:
            self._step, self._answered, self._failed, self.asked = question.step_index, 0, Counter(), []
        self.asked.append(question)
        self.open[question.number] = give
        self._account.charge_subcalls(1, 10)
        given = self.rule(question)
        if given is not None:
            self.answer(question.number, given)
        self._changed.set()

    def answer(self, number: int, given: Given) -> None:
        """Answer a question that was left open."""
        if isinstance(given, Failed):
            self._failed[given.code] += 1
        else:
            self._answered += 1
        self.open.pop(number)(given)

    async def until_open(self, count: int) -> None:
        """Wait until so many questions are open."""
        async with asyncio.timeout(WAIT_S):
            while len(self.open) < count:
                self._changed.clear()
                await self._changed.wait()

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        dropped = [number for number in numbers if self.open.pop(number, None) is not None]
        self._failed[why.code] += len(dropped)
        self.cancelled.append(dropped)

    def end_step(self, step_index: int, source: Source) -> None:
        assert (step_index == 0) is (source == "console")
        self.cancel(list(self.open))

    def tally(self, step_index: int) -> Tally:
        if step_index != self._step:
            return Tally()
        failed = {code: count for code, count in self._failed.items() if count}
        return Tally(asked=len(self.asked), answered=self._answered, failed=failed)

    def missed(self, numbers: Iterable[int]) -> None:
        told = list(numbers)
        self.missed_numbers += told
        self._failed["schema"] += len(told)

    async def forecast(
        self, sketches: Sequence[Sketch], schema: str | None, model: str | None, fresh: bool
    ) -> Forecast:
        del schema, model, fresh
        size = sum(one.utf8_bytes for one in sketches)
        return Forecast(len({one.digest for one in sketches}), size // 4, size // 2, refusal=self.refusal)

    def left(self) -> QuestionsLeft:
        left = self._account.left
        return QuestionsLeft(left.subcalls_left or 0, left.subcall_tokens_left or 0)

    def answerer(self) -> Answerer:
        limits = self._account.limits
        return Answerer(
            "scripted", "m", ("m",), "nowhere", 64, 1, limits.max_subcalls, limits.subcall_tokens_limit, "by a rule"
        )

    def hold(self, held: bool) -> None:
        self.held.append(held)


class ScriptedBoard:
    """`Switchboard` of tests."""

    def __init__(self) -> None:
        self.of: dict[str, ScriptedAnswers] = {}

    def broker(self, session_id: str, account: Account, *, is_new: bool = False) -> ScriptedAnswers:
        del is_new
        made = self.of[session_id] = ScriptedAnswers(account)
        return made
