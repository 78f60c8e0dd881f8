"""stderr of the server, which never waits for a reader.

Is: a text stream that accepts what is written at once and writes it out in a thread of its own; what finds no room is
dropped in whole writes, counted, and reported in its place. Is not: logging, which writes into it. Above: `app.py`.
Below: a descriptor.
"""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from typing import Final

ROOM_CHARS: Final = 1 << 20
"""Characters that may wait to be written."""


class LogStream(io.TextIOBase):
    """What `sys.stderr` is in the server; one write is one record of the log."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._waiting: deque[str] = deque()
        self._chars = self._dropped = 0
        self._is_writing = self._is_closed = False
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Take the text along, or count its lines as dropped; never waits, never raises."""
        with self._changed:
            if self._is_closed:
                return len(text)
            if self._chars + len(text) > ROOM_CHARS:
                self._dropped += max(text.count("\n"), 1)
            elif text:
                self._waiting.append(text)
                self._chars += len(text)
                self._changed.notify_all()
        return len(text)

    def finish(self, timeout_s: float) -> None:
        """Return when all is written, or after that time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_writing, timeout_s)

    def _run(self) -> None:
        try:
            while True:
                self._write(self._next())
        except OSError:  # nobody will ever read: what is written from now on goes nowhere
            with self._changed:
                self._waiting.clear()
                self._is_closed, self._is_writing = True, False
                self._changed.notify_all()

    def _next(self) -> bytes:
        with self._changed:
            self._is_writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._dropped)
            text = "".join(self._waiting)
            if self._dropped:
                text += f"{self._dropped:,} lines of the log were dropped here: nobody read stderr\n"
            self._waiting.clear()
            self._chars = self._dropped = 0
            self._is_writing = True
        return text.encode("utf-8", "backslashreplace")

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
