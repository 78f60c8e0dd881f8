"""A question that a child is to answer, from its asking to its end.

Is: what is known of it meanwhile, and work for it that ends where nobody wants it any more. Is not: who does the work
(`nesting.py`). Above: `nesting.py`. Below: `protocol.py`, `session/account.py`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rlm_kernel_mcp.session.account import Lent
from rlm_kernel_mcp.session.answering.keeping import NOTHING, Spent
from rlm_kernel_mcp.session.answering.questions import Give, Question
from rlm_kernel_mcp.session.children.protocol import Child, Ended

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class UnderWay:
    """One of them."""

    question: Question
    give: Give
    lent: Lent | None = None
    """Its child's share, from when it has one."""
    is_unwanted: asyncio.Event = field(default_factory=asyncio.Event)
    queued_s: float = field(default_factory=time.monotonic)
    begun_s: float | None = None
    child: Child | None = None
    task: asyncio.Task[Ended] | None = None
    """Held here: asyncio has only weak references to tasks, and what this one waits for may have no other either."""

    @property
    def is_coming(self) -> bool:
        """Whether its child is being opened."""
        return self.begun_s is not None and self.child is None

    @property
    def spent(self) -> Spent:
        """What the child and those below it have used, for the trace; they have charged it themselves."""
        if self.child is None or self.begun_s is None:
            return NOTHING
        queued_ms, duration_ms = (self.begun_s - self.queued_s) * 1000, (time.monotonic() - self.begun_s) * 1000
        return replace(self.child.spent, attempts=1, queued_ms=int(queued_ms), duration_ms=int(duration_ms))

    def unwanted(self) -> None:
        """Nobody waits for it any more. What has begun is ended by who does it; nothing else has anything to end."""
        self.is_unwanted.set()
        if self.task is not None and self.begun_s is None:
            self.task.cancel()

    async def while_wanted(self, work: asyncio.Task[T]) -> T | None:
        """What comes of it; None where nobody wants it any more: then it is ended."""
        unwanted = asyncio.create_task(self.is_unwanted.wait(), name="end of a child")
        try:
            await asyncio.wait({work, unwanted}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            unwanted.cancel()
            work.cancel()
