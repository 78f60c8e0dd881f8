"""The books of a session's calls of functions: what has become of each, written at once or together with others.

Is: a row's contents, and a short wait for more of them. Is not: where rows are kept (`session/answering/keeping.py`),
nor which call was made (`calls.py`). Belongs to one event loop. Above: `calls.py`. Below: `session/answering/`.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from rlm_kernel_mcp.session.answering.keeping import NOBODY, Books, Entry, Fate, Said, Spent
from rlm_kernel_mcp.session.answering.questions import Answered, Given, Question
from rlm_kernel_mcp.session.parked.reports import PROGRAM

BOOK_S: Final = 0.01
"""Calls that a program has answered are booked together, after so long: between two calls each takes three times as
long, since the processor's caches are others' by then."""
_BY_PROGRAM: Final = Said(by=PROGRAM)


class Ended(NamedTuple):
    """A call, and what has become of it."""

    question: Question
    given: Given
    is_made: bool
    begun_s: float
    ended_s: float
    by: str = ""
    """Who has answered it."""


class Booking:
    """One session's."""

    def __init__(self, session_id: str, books: Books) -> None:
        self._session_id, self._books = session_id, books
        self._waiting: list[Ended] = []

    def soon(self, ended: Ended) -> None:
        """Book it with others."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(BOOK_S, self.settle)
        self._waiting.append(ended)

    def settle(self) -> None:
        """Book all that waits for that."""
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            self.now(ended)

    def now(self, ended: Ended) -> None:
        """Book it."""
        given = ended.given
        spent = Spent(attempts=int(ended.is_made), duration_ms=int((ended.ended_s - ended.begun_s) * 1000))
        answer = given.text if isinstance(given, Answered) else None
        code = None if isinstance(given, Answered) else given.code
        fate: Fate = "failed" if answer is None else "answered"
        said = _BY_PROGRAM if ended.by == PROGRAM else Said(by=ended.by) if ended.by else NOBODY
        self._books.write(self._session_id, Entry(ended.question, "", fate, answer, code, said=said, spent=spent))
