"""The end of what a peer handed over: closing may wait for whoever stands behind it, and nobody else waits for that.

Is: a few threads, as long as there is something to close, and the count of what is not closed yet. A TCP socket with
unsent data waits at its close as long as the peer has set (SO_LINGER), a file as long as its file system does not
answer, and a Unix socket for all that lies unread in it. Is not: the threads of `rights.py`, of which a few such peers
would leave none. Above: `door.py`, `kinds/conversation.py`. Below: the operating system.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

log = logging.getLogger(__name__)

THREADS_MAX: Final = 64
"""Of peers whose closes all wait at the same time; those of further ones wait their turn, with what they have open."""


class Closing:
    """What is to be closed, and by whom."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = deque[list[int]]()
        self._threads = 0
        self.descriptors = 0
        """Those that are not closed yet."""

    def of_peer(self, connection: socket.socket, received: Iterable[int]) -> None:
        """Tell a peer at once that its connection has ended, and close that and what came of it, and wait for none."""
        with contextlib.suppress(OSError):  # it has gone already
            connection.shutdown(socket.SHUT_RDWR)
        self.of([*received, connection.detach()])

    def of(self, descriptors: Iterable[int]) -> None:
        """Close these, and wait for none of them."""
        with self._lock:
            self._waiting.append(left := [*descriptors])
            self.descriptors += len(left)
            if self._threads >= THREADS_MAX:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="close", daemon=True).start()
        except RuntimeError as error:
            log.warning("what a peer handed over stays open until the next one goes: %s", error)
            with self._lock:
                self._threads -= 1

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                descriptors = self._waiting.popleft()
            for descriptor in descriptors:
                with contextlib.suppress(OSError):  # which says what became of the data; the descriptor is closed
                    os.close(descriptor)
                with self._lock:
                    self.descriptors -= 1


CLOSING: Final = Closing()
"""Of this process."""
