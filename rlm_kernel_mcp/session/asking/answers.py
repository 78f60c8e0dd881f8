"""Who answers a session's questions, as the channel sees it.

Is: protocols, which the broker and the switchboard of `session/answering/` have, and what stands around one. Is not: a
backend. Above: `questions.py`, `session/reopening.py`, `session/boards/by_kind.py`, `session/children/nesting.py`.
Below: `session/answering/questions.py`, `session/parked/desk.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from rlm_kernel_mcp.session.account import Account
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
from rlm_kernel_mcp.session.parked.desk import Desk

STOPPED: Final = Failed("stopped", "The step that asks is not running any more.")


class Answers(Protocol):
    """Who answers one session's questions (`session/answering/broker.py`). Nothing here blocks, or raises."""

    desk: Desk | None
    """Where they wait for whoever drives the session; None: they do not."""

    def ask(self, question: Question, give: Give) -> None:
        """Answer it: `give` is called once, now or later from the loop; never once it is cancelled or its step over."""

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        """Nobody waits for these. They are counted as what was answered in their place."""

    def end_step(self, step_index: int, source: Source) -> None:
        """Nobody waits for any of these."""

    def tally(self, step_index: int) -> Tally:
        """What has become of a step's questions, while it runs and until the next one begins."""

    def missed(self, numbers: Iterable[int]) -> None:
        """Answers had not the schema that was asked for, twice."""

    async def forecast(
        self, sketches: Sequence[Sketch], schema: str | None, model: str | None, fresh: bool
    ) -> Forecast:
        """What such a batch would take."""

    def left(self) -> QuestionsLeft:
        """What is left of the limits."""

    def answerer(self) -> Answerer:
        """Who answers."""

    def hold(self, held: bool) -> None:
        """Ask nobody anything further for now, or go on."""


class Around:
    """`Answers` around others: what is not said otherwise is as those have it."""

    def __init__(self, inner: Answers) -> None:
        self._inner = inner

    def tally(self, step_index: int) -> Tally:
        """As `Answers`, as all of these."""
        return self._inner.tally(step_index)

    def missed(self, numbers: Iterable[int]) -> None:
        self._inner.missed(numbers)

    async def forecast(
        self, sketches: Sequence[Sketch], schema: str | None, model: str | None, fresh: bool
    ) -> Forecast:
        return await self._inner.forecast(sketches, schema, model, fresh)

    def left(self) -> QuestionsLeft:
        return self._inner.left()

    def answerer(self) -> Answerer:
        return self._inner.answerer()

    def hold(self, held: bool) -> None:
        self._inner.hold(held)


class Switchboard(Protocol):
    """Where each session gets its own."""

    def broker(self, session_id: str, account: Account, *, is_new: bool = False) -> Answers:
        """Who answers a session, within its limits, and charges its account. Unless it `is_new`, this reads files."""
