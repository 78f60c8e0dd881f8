"""Writes a server's record: at once where that waits for nothing, else in threads, so that only those wait who must.

Is: when, an order for each session, and the wait for a write before a client hears of what it records. Is not: what is
written (`store.py`), nor the readers (`reading.py`). Above: `session/registry.py`, `session/handles.py`,
`session/trace/journal.py`. Below: `store.py`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from rlm_kernel_mcp.store.store import Store

log = logging.getLogger(__name__)
T = TypeVar("T")

THREADS: Final = 8
AT_ONCE_CHARS: Final = 200_000
"""Larger writes go to a thread: they would keep the other sessions waiting."""
SLOW_S: Final = 0.08
"""A small write that took longer shows a slow disk: the next ones go to threads until one is quicker there."""
SETTLED_S: Final = 5.0
"""How long an answer waits for the disk. Then it is sent and says that the record is behind."""
CLOSE_S: Final = 2.0
"""How long the end of the server waits for it."""


class Writer:
    """One server's. Its methods belong to the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="writer of the store")
        self._waiting: dict[str, deque[tuple[Callable[[], object], bool]]] = {}
        """By session, what is to be written, and whether it is small; a session without a row has nothing under way."""
        self._since_s: dict[str, float] = {}
        """Since when a session has had something write_failed."""
        self._change = threading.Condition()
        self._closed = False
        self._is_slow = False

    def problem(self, session_id: str) -> str | None:
        """What is wrong with a session's record, and how to fix it; None if all is well."""
        since_s = self._since_s.get(session_id)
        if since_s is None or time.monotonic() - since_s < SETTLED_S:
            return self._store.problem
        return (
            f"The disk of the session store has not answered for more than {SETTLED_S:.0f} s. What is not written yet "
            "will be once it does, and is lost if this server ends before; check the disk."
        )

    def is_behind(self, session_id: str) -> bool:
        """Whether something of a session is not written yet."""
        return session_id in self._since_s

    def do(self, session_id: str, write: Callable[[], object], chars: int = 0) -> bool:
        """Have one call write something, after everything that the session gave before. Waits for nothing.

        `chars`: the size of what is written. What a thread raises is logged. Returns whether it was taken: nothing is
        after `close`, and that is logged.
        """
        is_small = chars <= AT_ONCE_CHARS
        if is_small and session_id not in self._since_s and self._at_once(write):
            return True
        with self._change:
            if self._closed:
                log.warning("session %s: something came after the end of the store, and is not written", session_id)
                return False
            waiting = self._waiting.setdefault(session_id, deque())
            waiting.append((write, is_small))
            if session_id in self._since_s:
                return True
            self._since_s[session_id] = time.monotonic()
        self._threads.submit(self._run, session_id)
        return True

    def _at_once(self, write: Callable[[], object]) -> bool:
        if self._closed or self._is_slow:
            return False
        begun_s = time.monotonic()
        is_done = self._store.at_once(write)
        self._is_slow = time.monotonic() - begun_s > SLOW_S
        return is_done

    def made(self, session_id: str, make: Callable[[], T]) -> asyncio.Future[T]:
        """The same for a call that has a result; it is made even if nobody waits for it any more.

        Raises in the future: what `make` raises; sqlite3.ProgrammingError: the store is closed.
        """
        made: Future[T] = Future()
        made.set_running_or_notify_cancel()

        def do() -> None:
            try:
                made.set_result(make())
            except BaseException as error:
                made.set_exception(error)
                raise

        if not self.do(session_id, do, AT_ONCE_CHARS + 1):
            made.set_exception(sqlite3.ProgrammingError("the store is closed"))
        return asyncio.wrap_future(made)

    async def settled(self, session_id: str) -> None:
        """Wait until what a session gave by now is written, or `problem` says why not. At most `SETTLED_S`."""
        if session_id not in self._since_s:
            return
        loop = asyncio.get_running_loop()
        reached = asyncio.Event()

        def reach() -> None:
            with suppress(RuntimeError):  # the loop ended meanwhile
                loop.call_soon_threadsafe(reached.set)

        self.do(session_id, reach, AT_ONCE_CHARS + 1)
        try:
            async with asyncio.timeout(SETTLED_S):
                await reached.wait()
        except TimeoutError:
            log.error("session %s: %s", session_id, self.problem(session_id))

    def close(self) -> None:
        """Write what was given by now, and end. Safe to call twice."""
        with self._change:
            self._closed = True
            if not self._change.wait_for(lambda: not self._since_s, CLOSE_S):
                log.error("the disk of the session store is slow: the last of %s is lost", ", ".join(self._since_s))
        self._threads.shutdown(wait=False)

    def _run(self, session_id: str) -> None:
        """A thread's work: one session's writes, until there are none."""
        while True:
            with self._change:
                waiting = self._waiting[session_id]
                if not waiting:
                    del self._waiting[session_id], self._since_s[session_id]
                    self._change.notify_all()
                    return
                write, is_small = waiting.popleft()
                self._since_s[session_id] = begun_s = time.monotonic()
            try:
                write()
            except Exception:  # whatever becomes of one write, the next one is done
                log.exception("something of session %s could not be written into the store", session_id)
            if is_small:
                self._is_slow = time.monotonic() - begun_s > SLOW_S
