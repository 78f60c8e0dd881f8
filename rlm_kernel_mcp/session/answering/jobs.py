"""One question to the backend, for all who ask it at the same time.

Is: what is known of it on its way, what it has taken, and the contract of whoever sees to it. Is not: its way
(`sending.py`). Sans-I/O, but for the task that it names. Above: `sending.py`, `broker.py`. Below: `ledger.py`,
`keeping.py`, `backends/protocol.py`, `session/parked/desk.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Unanswered
from rlm_kernel_mcp.session.answering.keeping import Spent
from rlm_kernel_mcp.session.answering.ledger import Cost, Verdict
from rlm_kernel_mcp.session.answering.questions import Failed, Give, Question
from rlm_kernel_mcp.session.parked.desk import Desk

Outcome = Answer | Unanswered
"""How a question ended; None: nobody wanted it any more."""


class Asker(Protocol):
    """Whose question it is."""

    def may_send(self, job: Job) -> Verdict:
        """Whether it may be sent now; on GO its cost is set aside. On NO it has its answer."""

    def may_ask_again(self, job: Job) -> str:
        """Set aside what sending it once more may cost; empty, or which limit is in the way."""

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """It was sent, and this is what became of it."""

    def not_sent(self, job: Job, why: Failed) -> None:
        """It was never sent."""

    def taken_back(self, job: Job) -> None:
        """It was to be sent, and nobody has seen it: what was set aside for it is free again."""


class Sending(Protocol):
    """Whoever sees to it that questions are answered (`Sender`, or `Parking` of `session/boards/`)."""

    @property
    def desk(self) -> Desk | None:
        """Where they wait for whoever drives the session; None: they do not."""

    @property
    def parallel(self) -> int:
        """How many may be asked at once."""

    def seconds(self, calls: int) -> float | None:
        """How long so many may take; None: nobody knows."""

    def off(self) -> Failed | None:
        """Why nothing can be asked, for the time being or at all."""

    def put(self, job: Job) -> None:
        """Queue a question; `pump` sends it."""

    def drop(self, job: Job) -> None:
        """Nobody wants its answer any more."""

    def pump(self) -> None:
        """Send what may be sent now."""


@dataclass(slots=True)
class Waiting:
    """Somebody who waits for an answer."""

    question: Question
    give: Give


@dataclass(eq=False, slots=True)
class Job:
    """One question to the backend, for all who ask it at the same time."""

    asker: Asker
    whose: str
    """The session."""
    key: str
    """Under which its answer is kept."""
    question: Question
    """As it was asked first."""
    asked: Asked
    cost: Cost
    waiting: dict[int, Waiting] = field(default_factory=dict)
    attempts: int = 0
    worked_s: float = 0.0
    queued_s: float = 0.0
    first_s: float = 0.0
    begun_s: float = 0.0
    """Moments: queued, first sent, last sent."""
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = None
    """What attempts have used that came to nothing."""
    task: asyncio.Task[None] | None = None
    is_begun: bool = False
    """Whether the task has got as far as the backend."""
    outcome: Outcome | None = None
    """Of the last attempt."""

    @property
    def may_be_kept(self) -> bool:
        """Whether an answer of earlier is welcome."""
        return not self.question.fresh and self.question.repair is None

    def note_attempt(self) -> None:
        """The last attempt came to nothing, and may have cost something."""
        spent = self.spent(self.outcome)
        self.tokens_in, self.tokens_out, self.usd = spent.tokens_in, spent.tokens_out, spent.usd

    def spent(self, outcome: Outcome | None) -> Spent:
        """What it has taken, all attempts together; without the backend's own word what was expected."""
        tokens_in, tokens_out, usd = self.used(outcome)
        return Spent(
            tokens_in=self.tokens_in + tokens_in,
            tokens_out=self.tokens_out + tokens_out,
            usd=usd if self.usd is None else self.usd + (usd or 0.0),
            attempts=self.attempts,
            queued_ms=max(0, int((self.first_s - self.queued_s) * 1000)),
            duration_ms=int(self.worked_s * 1000),
        )

    def used(self, outcome: Outcome | None) -> tuple[int, int, float | None]:
        """Tokens in and out of an attempt that ended so, and dollars where the backend says them."""
        used = outcome if isinstance(outcome, Answer) else None if outcome is None else outcome.answer
        if used is None:
            is_paid = outcome is None or (isinstance(outcome, Unanswered) and outcome.is_paid)
            return (self.cost.tokens_expected if is_paid else 0), 0, None
        tokens_in = self.cost.tokens_expected if used.tokens_in is None else used.tokens_in
        return tokens_in, (-(-len(used.text) // 4) if used.tokens_out is None else used.tokens_out), used.usd
