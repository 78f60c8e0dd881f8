"""Threads in which a program's functions run, a bounded number, begun as they are needed.

Is: what waits for a thread, which can be taken back, and the threads. Is not: what is done. Above: `functions.py`.
Below: nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

WORKERS_MAX: Final = 32

Work = Callable[[], object]


class Workers:
    """Those of one session. They keep nobody's process from ending."""

    def __init__(self, most: int = WORKERS_MAX) -> None:
        self._most = most
        self._changed = threading.Condition(threading.Lock())
        self._waiting: dict[Work, None] = {}
        """What no thread has begun, in its order."""
        self._threads = self._idle = 0
        self._has_ended = False

    def do(self, work: Work) -> None:
        """Have something done, which must not raise."""
        with self._changed:
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
        """What is to be done next; None: nothing ever again."""
        with self._changed:
            while not self._waiting and not self._has_ended:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            if self._has_ended:
                return None
            work = next(iter(self._waiting))
            del self._waiting[work]
            return work

    def end(self) -> None:
        """Begin nothing more. Nobody waits for what is under way."""
        with self._changed:
            self._has_ended = True
            self._waiting.clear()
            self._changed.notify_all()
