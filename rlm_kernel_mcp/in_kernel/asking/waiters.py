"""Who waits for the answer to a question: a thread, or a task of an event loop.

Is: the gate at which a thread waits for all that one call has asked, what it does there for the host meanwhile, and how
answers are given, each once. Is not: the way of an answer (`channel.py`). Above: `channel.py`, `calls.py`. Below:
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any


class Gate:
    """Where one thread waits until all that it has asked is answered: it is woken once, and not for each answer."""

    def __init__(self, look: Callable[[str], str | None] = lambda answer: None) -> None:
        """`look`: says what is wrong with an answer on trial, if anything is."""
        self.look = look
        self.read: Callable[[], None] = lambda: None
        """Waits for an answer before anything else does; it may return without one."""
        self._open: set[Waiting] = set()
        self._told: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def add(self, waiting: Waiting) -> None:
        """One more is asked."""
        self._open.add(waiting)

    def answered(self, waiting: Waiting) -> None:
        """Its answer is there. Any thread may say so."""
        self._open.discard(waiting)
        if not self._open:  # two threads may both see that: it is told twice then, and looked at again
            self._told.put(None)

    def tell(self, do: Callable[[], None]) -> None:
        """Have the thread that waits here do something meanwhile. Any thread may say so."""
        self._told.put(do)

    def wait(self) -> None:
        """Return when nothing is open. An interrupt ends it; so does what something raises that is to be done."""
        if self._open:
            self.read()
        while self._open:
            if (do := self._told.get()) is not None:
                do()


@dataclass(slots=True, eq=False)
class Waiting:
    """Who waits for one answer, which is a value or a SubcallError.

    A task waits for a future of its own loop, whose thread alone may touch it.
    """

    at: Gate | asyncio.Future[Any]
    id: int = 0
    given: Any = None
    """The answer, at a gate that it has passed."""
    text: str | None = None
    """A text that is too long for a question, which the host asks for."""

    @classmethod
    def of(cls, whose: Gate | asyncio.AbstractEventLoop) -> Waiting:
        """At a thread's gate, or in an event loop."""
        if not isinstance(whose, Gate):
            return cls(whose.create_future())
        waiting = cls(whose)
        whose.add(waiting)
        return waiting

    def __await__(self) -> Generator[Any, None, Any]:
        """In the task that waits for it."""
        assert not isinstance(self.at, Gate)
        return self.at.__await__()


def give(answers: Iterable[tuple[Waiting, Any]]) -> None:
    """To the threads that wait one by one, to the tasks of a loop all at once: each call into it is a system call."""
    of_loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for waiting, given in answers:
        if isinstance(at := waiting.at, Gate):
            waiting.given = given
            at.answered(waiting)
        else:
            of_loops.setdefault(at.get_loop(), []).append((at, given))
    for loop, pairs in of_loops.items():
        with contextlib.suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(_give_in_loop, pairs)


def _give_in_loop(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, given in pairs:
        if not future.done():
            future.set_result(given)
