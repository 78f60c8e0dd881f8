"""What a parent knows of its child sessions: contracts of whoever has them and of whoever answers by them.

Is: protocols, and how a child has ended. Is not: a session (`opening.py`), nor the bookkeeping of its question
(`nesting.py`). Above: those. Below: `session/answering/questions.py`, `session/reports.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rlm_kernel_mcp.session.answering.conversing.conversation import Conversation
from rlm_kernel_mcp.session.answering.keeping import Spent
from rlm_kernel_mcp.session.answering.questions import Coming, Given, Question
from rlm_kernel_mcp.session.children.carrying import Carried, Carrier
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.reports import Guardrails, StepReport


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child's question was answered. `by`: who has, where that is not the backend."""

    given: Given
    by: str = ""
    model_said: str = ""


class Child(Protocol):
    """One child session."""

    session_id: str
    final: asyncio.Future[Given]
    """Its final answer, or why there is none."""

    on_use: Callable[[], None]
    """Called when somebody works in it."""

    @property
    def spent(self) -> Spent:
        """What its own questions, and those of its children, have used."""

    async def end(self, why: str) -> None:
        """Nobody waits for it any more: end it, unless it has its final answer."""

    async def ask(self, conversation: Conversation, turn: int) -> Given:
        """Ask the model that works in it for its next turn, within the child's limits."""

    async def run(self, code: str, max_output_chars: int) -> StepReport:
        """Run a step to its end. Raises: RlmError."""

    async def finalize(self, text: str | None, variable: str | None) -> None:
        """Take its final answer. Raises: RlmError."""


class Opener(Protocol):
    """Who opens and ends child sessions (`opening.py`)."""

    async def carried(self, carrier: Carrier, coming: Coming) -> Carried:
        """Have a long text brought here, if a child may have it. Raises: RlmError."""

    async def open(
        self, parent: str, question: Question, limits: Guardrails, depth: int, carried: Carried | None
    ) -> Child:
        """Open one for a question, without a kernel. `carried`: its text, if that has come by itself.

        Raises:
            RlmError: it cannot be recorded. Nothing of the text stays.
        """


class Way(Protocol):
    """Who works in child sessions (`by_agent.py`, `loop.py`)."""

    at_once: int
    """Children of one session that may be worked in at a time."""

    async def answer(self, child: Child, question: Question, desk: Desk | None) -> Ended:
        """Have it answered; where this is cancelled nothing of it goes on. `desk`: the parent's, where it has one."""
