"""The descriptors that the host passes, each for the next request of one channel.

Is: their way from the one socket to the two threads that answer those channels, in whatever order they come to it. Is
not: a wall, nor a check: they are the host's. Above: `control.py`. Below: `wire.py`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import defaultdict, deque
from typing import Final

from rlm_kernel_mcp.wire import DESCRIPTOR_FD

_lock: Final = threading.Lock()
_waiting: Final[defaultdict[bytes, deque[int]]] = defaultdict(deque)
"""Those that were taken from the socket by the thread for which they were not."""


def receive_descriptor(channel: bytes) -> int:
    """The descriptor that was passed for a channel's request, which it has come before.

    Args:
        channel: `wire.FOR_CONTROL` or `wire.FOR_SHELL`.

    Raises:
        ValueError: there was none.
    """
    with _lock:
        while not _waiting[channel]:
            # A copy, because leaving the `with` block closes it; the inherited socket itself serves for the kernel's
            # whole life.
            with socket.socket(fileno=os.dup(DESCRIPTOR_FD)) as passing:
                # One byte and one descriptor a message: a stream socket keeps the ancillary data with the byte it was
                # sent with.
                whose, descriptors, _, _ = socket.recv_fds(passing, 1, 1)
            if not descriptors:
                raise ValueError("the host passed no descriptor")
            _waiting[whose].append(descriptors[0])
        return _waiting[channel].popleft()
