"""The log as the client sees it whose call a line is about: on its own stderr.

Is: which connection a line belongs to, by a variable of the task's context, which whatever a call begins inherits; and
a write that never waits: what finds no room is kept up to a bound, and beyond it dropped by lines and counted. Is not:
stderr of a process that serves one client (`server/log_stream.py`), which keeps as much. Above: whoever serves a
client. Below: `ends.py`.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final, TextIO

import anyio

from rlm_kernel_mcp.server.transport.ends import Sink

ROOM_BYTES: Final = 1 << 20
"""Bytes that may wait to be written."""
END_S: Final = 0.5
"""So long a connection's end waits for whoever reads its log."""


class ClientLog:
    """One client's stderr. Any thread may write."""

    def __init__(self, descriptor: int) -> None:
        self._lock = threading.Lock()
        self._sink: Sink | None = Sink(descriptor)
        self._waiting: deque[memoryview] = deque()
        self._bytes = self._dropped = 0

    def write(self, text: str) -> bool:
        """Write whole lines, keep or count them; never waits. False where nobody will ever read them."""
        with self._lock:
            if not self._put_waiting():  # first: it may make room
                return False
            dropped = f"{self._dropped:,} lines of the log were dropped here: nobody read stderr\n"
            if self._keep(dropped + text if self._dropped else text):
                self._dropped = 0
            else:
                self._dropped += text.count("\n")
            return self._put_waiting()

    async def finish(self, seconds: float) -> None:
        """Return when all is written, or after that time."""
        with anyio.move_on_after(seconds):
            while (number := self._to_wait_for()) is not None:
                await anyio.wait_writable(number)

    def close(self) -> None:
        """Write no more. How many lines were dropped is said if there is room for it by now."""
        self.write("")
        with self._lock:
            self._close()

    def _keep(self, text: str) -> bool:
        whole = text.encode("utf-8", "backslashreplace")
        if self._bytes + len(whole) > ROOM_BYTES:
            return False
        if whole:
            self._waiting.append(memoryview(whole))
            self._bytes += len(whole)
        return True

    def _put_waiting(self) -> bool:
        """Write what there is room for; False where nobody will ever read it."""
        try:
            while self._sink is not None and self._waiting:
                written = self._sink.write(self._waiting[0])
                self._bytes -= written
                self._waiting[0] = self._waiting[0][written:]
                if not self._waiting[0]:
                    self._waiting.popleft()
        except BlockingIOError:
            return True
        except OSError:
            self._close()
        return self._sink is not None

    def _to_wait_for(self) -> int | None:
        """The descriptor that has no room for what waits; None where nothing does."""
        with self._lock:
            return self._sink.number if self._put_waiting() and self._waiting and self._sink is not None else None

    def _close(self) -> None:
        self._waiting.clear()
        if self._sink is not None:
            self._sink.close()
            self._sink = None


_current: Final[ContextVar[ClientLog | None]] = ContextVar("client_log", default=None)


@contextmanager
def lines_to(log: ClientLog) -> Iterator[None]:
    """What this task writes into a `ClientStream`, and what it begins, goes to this client."""
    token = _current.set(log)
    try:
        yield
    finally:
        _current.reset(token)


@asynccontextmanager
async def logged_at(descriptor: int) -> AsyncIterator[None]:
    """As `lines_to` with a log there, which is closed in the end. The descriptor stays the caller's own."""
    with contextlib.closing(ClientLog(descriptor)) as log, lines_to(log):
        yield
        await log.finish(END_S)


class ClientStream(io.TextIOBase):
    """What `sys.stderr` is in a process that serves many: a record goes to its client, or where there is none on."""

    def __init__(self, otherwise: TextIO | io.TextIOBase) -> None:
        self._otherwise = otherwise

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Never waits if `otherwise` never does."""
        log = _current.get()
        if log is None or not log.write(text):
            self._otherwise.write(text)
        return len(text)
