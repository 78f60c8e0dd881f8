"""The calls of functions of a registry's sessions: each session's own, over one place where all are booked.

Is: what a session with functions is given in the place of who answers models alone. Is not: who answers those
(`choice.py`). Above: `session/registry.py`, `session/reopening.py`. Below: `by_kind.py`, `session/functions/calls.py`,
`session/answering/books.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from rlm_kernel_mcp.session.answering.backends.protocol import Facts
from rlm_kernel_mcp.session.answering.books import StoreBooks
from rlm_kernel_mcp.session.asking.answers import Answers
from rlm_kernel_mcp.session.boards.by_kind import ByKind, NoModels
from rlm_kernel_mcp.session.functions.calls import FunctionCalls
from rlm_kernel_mcp.session.functions.offered import HostFunction
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.writer import Writer
from rlm_kernel_mcp.telemetry.spans import Spans

FACTS: Final = Facts(name="functions", where="", model="", how="")


class ModelBoard(Protocol):
    """Who answers models for the sessions of a registry (`choice.py`), as far as it is known here."""

    async def settled(self, session_id: str) -> None:
        """Wait until the trace has all that is known of a session's questions."""

    async def close(self) -> None:
        """End what is under way."""


class FunctionBoard:
    """One registry's. Belongs to its event loop."""

    def __init__(
        self, store: Store, writer: Writer, models: ModelBoard | None = None, spans: Spans | None = None
    ) -> None:
        """`models`: through which questions to a model are answered, which is written and ended with this."""
        self._store, self._models = store, models
        self._books = StoreBooks(store, writer, FACTS, is_cached=False, day_max=0)
        if spans is not None:
            self._books.told = spans.asked

    def answers(
        self, session_id: str, offered: Sequence[HostFunction], models: Answers | None, *, is_new: bool = False
    ) -> tuple[Answers, FunctionCalls]:
        """Who answers a session that has functions. Unless it `is_new`, this reads the trace.

        `models`: who answers its questions; None: nobody.
        """
        models = models or NoModels()
        used = 0 if is_new else self._store.subcalls.calls(session_id)
        calls = FunctionCalls(session_id, offered, models.desk or Desk(session_id), self._books, used)
        return ByKind(models, calls), calls

    async def settled(self, session_id: str) -> None:
        """Wait until the trace has all that is known of a session's questions and calls."""
        if self._models is not None:
            await self._models.settled(session_id)
        await self._books.settled(session_id)

    async def close(self) -> None:
        """End what is under way; of calls nothing is: what waits is stopped with its step."""
        if self._models is not None:
            await self._models.close()
        self._books.flush()
