"""Threads in which a program's functions run, a bounded number, begun as they are needed.

Is: a queue of what is to be done, and the threads that do it. Is not: what is done. Above: `functions.py`.
Below: nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

WORKERS_MAX: Final = 32


class Workers:
    """Those of one session. They keep nobody's process from ending."""

    def __init__(self, most: int = WORKERS_MAX) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._threads = self._idle = 0

    def do(self, work: Callable[[], object]) -> None:
        """Have something done, which must not raise."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name="rlm host function", daemon=True).start()
        self._waiting.put(work)

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None:
            work()
            with self._lock:
                self._idle += 1

    def end(self) -> None:
        """Take nothing more. Nobody waits for what is under way."""
        for _ in range(self._threads):
            self._waiting.put(None)
