"""Threads in which a program's functions run, a bounded number, begun as they are needed.

Is: what waits for a thread, which can be taken back, and the threads. Is not: what is done. Above: `functions.py`.
Below: nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

WORKERS_MAX: Final = 32
IDLE_S: Final = 5.0
"""A thread that has had nothing to do for so long ends, in whichever way its session goes."""

Work = Callable[[], object]


class Workers:
    """Those of one session. They keep nobody's process from ending."""

    def __init__(self, most: int = WORKERS_MAX, idle_s: float = IDLE_S) -> None:
        self._most, self._idle_s = most, idle_s
        self._changed = threading.Condition(threading.Lock())
        self._waiting: dict[Work, None] = {}
        """What no thread has begun, in its order."""
        self._threads = self._idle = 0
        self._is_over = False

    def do(self, work: Work) -> None:
        """Have something done, which must not raise."""
        with self._changed:
            self._is_over = False
            self._waiting[work] = None
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name="rlm host function", daemon=True).start()

    def take_back(self, work: Work) -> bool:
        """Have it not done; false: a thread has begun it."""
        with self._changed:
            if work not in self._waiting:
                return False
            del self._waiting[work]
            return True

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Work | None:
        """What is to be done next; None: this thread has nothing to do any more."""
        with self._changed:
            if not self._waiting and not self._is_over:
                self._idle += 1
                self._changed.wait_for(lambda: self._waiting or self._is_over, self._idle_s)
                self._idle -= 1
            if not self._waiting:
                self._threads -= 1
                return None
            work = next(iter(self._waiting))
            del self._waiting[work]
            return work

    def end(self) -> None:
        """Begin nothing of what waits, and let the threads go. Nobody waits for what is under way."""
        with self._changed:
            self._is_over = True
            self._waiting.clear()
            self._changed.notify_all()
