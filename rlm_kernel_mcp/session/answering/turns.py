"""Whose question is sent next: so many at once, the sessions in turn, and nobody while the endpoint asks to wait.

Is: queues, and arithmetic on moments that the caller reads. Is not: a wait, nor what a question costs (`ledger.py`).
Sans-I/O. Above: `switchboard.py`. Below: `ledger.py`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from rlm_kernel_mcp.session.answering.ledger import Verdict

MINUTE_S: Final = 60.0

J = TypeVar("J", bound=Hashable)


class Turns(Generic[J]):
    """The questions of all sessions that wait to be sent."""

    def __init__(self, parallel: int, per_minute: int | None = None) -> None:
        self.parallel = parallel
        self._per_minute = per_minute
        self._begun: deque[float] = deque()
        """When those of the last minute began; kept only where there is a limit on them."""
        self._queues: OrderedDict[str, OrderedDict[J, None]] = OrderedDict()
        """By session, whose turn it is first."""
        self._later: list[tuple[float, int, str, J]] = []
        self._wanted_later: set[J] = set()
        """Those of `_later` that were not dropped."""
        self._numbers = itertools.count()
        self._held_until = 0.0
        self.active = 0
        """Questions under way."""

    def rounds(self, count: int) -> int:
        """How many after another so many questions take."""
        return -(-count // self.parallel)

    @property
    def waiting(self) -> int:
        """Questions that wait for their turn."""
        return sum(map(len, self._queues.values()))

    def take_some(self, wanted: Callable[[J], bool], most: int) -> list[J]:
        """Take so many, at most, out of those that wait for their turn: none of them will have one."""
        some = ((whose, job) for whose, queue in self._queues.items() for job in queue if wanted(job))
        found = list(itertools.islice(some, most))
        for whose, job in found:
            self.drop(whose, job)
        return [job for _, job in found]

    def put(self, whose: str, job: J) -> None:
        """Queue a question behind the others of its session."""
        self._queues.setdefault(whose, OrderedDict())[job] = None

    def put_later(self, whose: str, job: J, at_s: float) -> None:
        """Queue a question once more, in front of the others of its session, from a moment on."""
        self._wanted_later.add(job)
        heapq.heappush(self._later, (at_s, next(self._numbers), whose, job))

    def drop(self, whose: str, job: J) -> None:
        """Take a question out; nothing happens where it does not wait."""
        self._wanted_later.discard(job)
        queue = self._queues.get(whose)
        if queue is not None and job in queue:
            del queue[job]
            self._forget_empty(whose)

    def hold_until(self, at_s: float) -> None:
        """Send nothing before that moment."""
        self._held_until = max(self._held_until, at_s)

    def done(self) -> None:
        """A question is not under way any more."""
        self.active -= 1

    def take(self, now_s: float, admit: Callable[[J], Verdict]) -> J | None:
        """The next question to be sent, which counts as under way from now on; None: none may be now.

        Args:
            now_s: the moment.
            admit: says whether one may be sent. One that may not is taken out: its answer is the caller's to give.
        """
        self._call_back(now_s)
        for whose in list(self._queues):
            if self.active >= self.parallel or now_s < self._held_until or now_s < self._minute_allows_at(now_s):
                return None
            queue = self._queues.get(whose, OrderedDict())
            while queue:
                job = next(iter(queue))
                verdict = admit(job)
                if verdict is Verdict.WAIT:
                    break
                queue.pop(job, None)
                if verdict is Verdict.GO:
                    self._count(now_s)
                    self._queues.move_to_end(whose)
                    self._forget_empty(whose)
                    return job
            self._forget_empty(whose)
        return None

    def wake_at(self, now_s: float) -> float | None:
        """When `take` may have something that it has not now, if nothing else happens; None: never.

        `now_s`: the moment that `take` was given last. What is due by then it has looked at, and only that.
        """
        if not self._queues and not self._later:
            return None
        moments = [at_s for at_s, _, _, _ in self._later[:1]]
        if self._queues and self.active < self.parallel:
            moments += [self._held_until, self._minute_allows_at(now_s)]
        ahead = [at_s for at_s in moments if at_s > now_s]
        return min(ahead) if ahead else None

    def _call_back(self, now_s: float) -> None:
        due: list[tuple[str, J]] = []
        while self._later and self._later[0][0] <= now_s:
            _, _, whose, job = heapq.heappop(self._later)
            if job in self._wanted_later:
                self._wanted_later.remove(job)
                due.append((whose, job))
        for whose, job in reversed(due):
            self.put(whose, job)
            self._queues[whose].move_to_end(job, last=False)

    def _minute_allows_at(self, now_s: float) -> float:
        if self._per_minute is None:
            return now_s
        while self._begun and self._begun[0] <= now_s - MINUTE_S:
            self._begun.popleft()
        return now_s if len(self._begun) < self._per_minute else self._begun[0] + MINUTE_S

    def _count(self, now_s: float) -> None:
        self.active += 1
        if self._per_minute is not None:
            self._begun.append(now_s)

    def _forget_empty(self, whose: str) -> None:
        if not self._queues.get(whose, True):
            del self._queues[whose]
