"""Threads in which a program's functions run, a bounded number, begun as they are needed.

Is: what waits for a thread, which can be taken back, and the threads. Is not: what is done. Above: `functions.py`.
Below: nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

WORKERS_MAX: Final = 32
IDLE_S: Final = 5.0
"""A thread that has had nothing to do for so long ends, in whichever way its session goes."""

Work = Callable[[], object]


class Workers:
    """Those of one session. They keep nobody's process from ending."""

    def __init__(self, most: int = WORKERS_MAX, idle_s: float = IDLE_S) -> None:
        self._most, self._idle_s = most, idle_s
        self._lock = threading.Lock()
        self._waiting: dict[Work, None] = {}
        """What no thread has begun, in its order."""
        self._told: SimpleQueue[None] = SimpleQueue()
        """A word wakes one idle thread, which looks for itself: a word too many is heard in vain.

        A condition takes several times as long, on a way that somebody waits for.
        """
        self._threads = self._idle = 0
        self._own = threading.local()
        """`is_free`: whether its thread is counted as idle while it ends what it does."""
        self._is_over = False

    def do(self, work: Work) -> None:
        """Have something done, which must not raise."""
        with self._lock:
            self._is_over = False
            self._waiting[work] = None
            is_idle = self._idle >= len(self._waiting)
            if not is_idle and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name="rlm host function", daemon=True).start()
        if is_idle:
            self._told.put(None)

    def take_back(self, work: Work) -> bool:
        """Have it not done; false: a thread has begun it."""
        with self._lock:
            if work not in self._waiting:
                return False
            del self._waiting[work]
            return True

    def _run(self) -> None:
        self._own.is_free = False
        while (work := self._next()) is not None:
            work()

    def free(self) -> None:
        """Say, in one of the threads, that what is left of its work waits for nothing: it is as good as idle.

        Else what follows at once would have another thread begun, and wake one after the other in turn.
        """
        with self._lock:
            if not self._own.is_free:
                self._own.is_free, self._idle = True, self._idle + 1

    def _next(self) -> Work | None:
        """What is to be done next; None: this thread has nothing to do any more."""
        with self._lock:
            if not self._own.is_free:
                self._idle += 1
            self._own.is_free = False
            if self._has_news():
                self._idle -= 1
                return self._taken()
        while True:
            is_told = self._is_told()
            with self._lock:
                if self._has_news() or not is_told:
                    self._idle -= 1
                    return self._taken()

    def _has_news(self) -> bool:
        """Whether a thread without work has something to do, or is to end. The lock is held."""
        return bool(self._waiting) or self._is_over

    def _is_told(self) -> bool:
        """Wait for a word; false: none has come for so long that this thread may end."""
        try:
            self._told.get(timeout=self._idle_s)
        except Empty:
            return False
        return True

    def _taken(self) -> Work | None:
        """The first of what waits, or nothing, with which the thread ends. The lock is held."""
        if not self._waiting:
            self._threads -= 1
            return None
        work = next(iter(self._waiting))
        del self._waiting[work]
        return work

    def end(self) -> None:
        """Begin nothing of what waits, and let the threads go. Nobody waits for what is under way."""
        with self._lock:
            self._is_over = True
            self._waiting.clear()
            for _ in range(self._idle):
                self._told.put(None)
