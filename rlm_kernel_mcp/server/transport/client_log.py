"""The log as the client sees it whose call a line is about: on its own stderr.

Is: which connection a line belongs to, by a variable of the task's context, which whatever a call begins inherits; and
a write that never waits: what a client does not read is dropped by lines and counted. Is not: stderr of a process that
serves one client (`server/log_stream.py`). Above: `connection.py`. Below: `ends.py`.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TextIO

from rlm_kernel_mcp.server.transport.ends import Sink

RECORD_CHARS: Final = 1 << 20
"""A longer record is dropped: of one that a client has begun to read the rest waits in memory."""


class ClientLog:
    """One client's stderr. Any thread may write."""

    def __init__(self, descriptor: int) -> None:
        self._lock = threading.Lock()
        self._sink: Sink | None = Sink(descriptor)
        self._rest = memoryview(b"")
        self._dropped = 0

    def write(self, text: str) -> bool:
        """Write whole lines, or count them as dropped; never waits. False where nobody will ever read them."""
        with self._lock:
            if self._sink is None:
                return False
            try:
                self._put_rest(self._sink)
                if self._dropped:
                    self._put(self._sink, f"{self._dropped:,} lines of the log were dropped here: nobody read stderr\n")
                    self._dropped = 0
                self._put(self._sink, text)
            except BlockingIOError:
                self._dropped += text.count("\n")
            except OSError:
                self._close(self._sink)
                return False
            return True

    def close(self) -> None:
        """Write no more. How many lines were dropped is said if there is room for it by now."""
        self.write("")
        with self._lock:
            if self._sink is not None:
                self._close(self._sink)

    def _put(self, sink: Sink, text: str) -> None:
        """Write the text, or begin it and keep the rest.

        Raises:
            BlockingIOError: nothing of it could be written, and nothing is kept.
        """
        if self._rest or len(text) > RECORD_CHARS:
            raise BlockingIOError
        whole = memoryview(text.encode("utf-8", "backslashreplace"))
        self._rest = whole
        try:
            self._put_rest(sink)
        except BlockingIOError:
            if len(self._rest) == len(whole):
                self._rest = memoryview(b"")
                raise

    def _put_rest(self, sink: Sink) -> None:
        while self._rest:
            self._rest = self._rest[sink.write(self._rest) :]

    def _close(self, sink: Sink) -> None:
        self._sink, self._rest = None, memoryview(b"")
        sink.close()


_current: Final[ContextVar[ClientLog | None]] = ContextVar("client_log", default=None)


@contextmanager
def lines_to(log: ClientLog) -> Iterator[None]:
    """What this task writes into a `ClientStream`, and what it begins, goes to this client."""
    token = _current.set(log)
    try:
        yield
    finally:
        _current.reset(token)


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
