"""Reads contexts in threads, out of the way of everything else.

Is: separate threads for what reads files, a bound on how many large contexts are read at a time, and the end of a read
that nobody waits for any more. Is not: what is read (`session/opening.py`, `context/`). Above: `session/opening.py`,
`session/reopening.py`. Below: `shielded.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.shielded import made_in_thread

LOADS_MAX: Final = 4
"""Contexts of many or large files that are read at a time; the others wait for their turn."""
LARGE: Final = 2_000
"""Directory entries and blocks of 32 KB that are read before a context counts as such: a small one never waits."""
THREADS_MAX: Final = 64
"""More than the number of sessions that are opened at a time, each of which has a slot (`slots.py`)."""
LOOK_S: Final = 0.5
"""How often a thread that waits for its turn looks whether its caller still waits."""

CancelCheck = Callable[[], None]
"""Called by a reader at each entry and block; raises where nobody waits for the context any more."""
_files = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="context")
_turns = threading.BoundedSemaphore(LOADS_MAX)


class NobodyWaits(Exception):
    """Ends a read; nobody hears of it."""


class _Reading:
    """One read, as its thread sees it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._asked = 0
        self._has_turn = False

    def check_cancelled(self) -> None:
        self._asked += 1
        while self._asked >= LARGE and not self._has_turn and not self.ended.is_set():
            self._has_turn = _turns.acquire(timeout=LOOK_S)
        if self.ended.is_set():
            raise NobodyWaits

    def do(self, read: Callable[[CancelCheck], Payload]) -> Payload:
        try:
            return read(self.check_cancelled)
        finally:
            if self._has_turn:
                _turns.release()


async def read_in_thread(read: Callable[[CancelCheck], Payload], *, files: bool) -> Payload:
    """The payload that `read` makes. Where the wait is cancelled, the read ends soon and leaves nothing behind.

    `files`: whether it reads files, of which there may be very many; an inline text is quickly read.

    Raises:
        What `read` raises.
    """
    reading = _Reading()
    try:
        return await made_in_thread(lambda: reading.do(read), Payload.close, _files if files else None)
    finally:
        reading.ended.set()
