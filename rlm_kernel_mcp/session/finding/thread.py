"""The thread in which what was delivered is looked for: one for all sessions, and another where that one is stuck.

Is: works one after the other, and the end of the wait for a file system that may never answer. Is not: the works
(`steps.py`), nor the end of a program, which waits for such threads where a server does not. Above: `steps.py`. Below:
the standard library.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

STUCK_S: Final = 20.0
"""A work that takes longer waits for a disk: what came behind it is not done, and what comes goes to another thread."""
LEFT_MAX: Final = 3
"""Threads that are left so at a time; beyond it works wait."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class Finder:
    """Takes no more than one processor, and is nobody's wait. Any thread may call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._pool = _pool()
        self._begun_s: float | None = None
        """When the work of the pool was begun that runs in it."""
        self._left = 0
        self.is_used = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have it done. It is cancelled where one before it is stuck."""
        with self._lock:
            self.is_used = True
            if self._left < LEFT_MAX and self._begun_s is not None and self._clock() - self._begun_s > STUCK_S:
                left, self._pool, self._begun_s = self._pool, _pool(), None
                self._left += 1
                log.error("a source has not been read within %.0f s: what was delivered since is on no map", STUCK_S)
                left.shutdown(wait=False, cancel_futures=True)
            return self._pool.submit(self._timed, self._pool, work)

    def _timed(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        with self._lock:
            self._begun_s = self._clock() if pool is self._pool else self._begun_s
        try:
            return work()
        finally:
            with self._lock:
                if pool is self._pool:
                    self._begun_s = None
                else:
                    self._left -= 1


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="finder of what was delivered")
