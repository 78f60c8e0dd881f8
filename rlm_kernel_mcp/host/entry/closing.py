"""The end of what a peer handed over: closing may wait for whoever stands behind it, and nobody else waits for that.

Is: one thread for each peer that goes. A TCP socket with unsent data waits at its close as long as the peer has set
(SO_LINGER), a file as long as its file system does not answer, and a Unix socket for all that lies unread in it. Is
not: the threads of `rights.py`, of which a few such peers would leave none. Above: `door.py`. Below: the operating
system.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterable

log = logging.getLogger(__name__)


def closed_apart(connection: socket.socket, descriptors: Iterable[int]) -> None:
    """Tell the peer at once that its connection has ended, and close that and these without waiting for it."""
    with contextlib.suppress(OSError):  # it has gone already
        connection.shutdown(socket.SHUT_RDWR)

    def close() -> None:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):  # which says what became of the data; the descriptor is closed
                os.close(descriptor)
        connection.close()

    try:
        threading.Thread(target=close, name="close", daemon=True).start()
    except RuntimeError as error:
        log.warning("what a peer handed over stays open: %s", error)
