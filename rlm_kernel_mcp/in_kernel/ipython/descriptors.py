"""The descriptors that the host passes, each for the next request of one channel, and the room for them.

Is: their way from the one socket to the two threads that answer those channels, in whatever order they come to it, and
a few that are held for them: code that holds all it can have would have no snapshots and no more contexts. Is not: a
wall, nor a check: they are the host's, and a thread of the code may take the room while it is open. Above:
`control.py`, `kernel.py`. Below: `wire.py`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rlm_kernel_mcp.wire import DESCRIPTOR_FD

SPARE: Final = 6
"""Descriptors that a kernel holds for nothing but to be rid of them: as many as any request needs."""
_LOST: Final = -1

_room: Final = threading.Lock()
_spare: Final[list[int]] = []
_users: Final = [0]
"""How many requests use the room just now."""
_lock: Final = threading.Lock()
_waiting: Final[defaultdict[bytes, deque[int]]] = defaultdict(deque)
"""Those that were taken from the socket by the thread for which they were not."""


def set_room_aside() -> None:
    """Take descriptors, of which code has so many fewer. Not a lower limit: the filter lets nobody change that one.

    Without a host, which would need it, it does nothing.
    """
    with contextlib.suppress(OSError):  # code holds all that there are: the next request tries again
        while len(_spare) < SPARE:
            _spare.append(os.dup(DESCRIPTOR_FD))


@contextmanager
def room_for_descriptors() -> Iterator[None]:
    """Let go of them while a request is served that needs some, and take them again afterwards."""
    with _room:
        _users[0] += 1
        while _spare:
            _let_go(_spare.pop())
    try:
        yield
    finally:
        with _room:
            _users[0] -= 1
            if not _users[0]:
                set_room_aside()


def _let_go(descriptor: int) -> None:
    """Close it, unless code has: then the number may be a file of the code's own by now."""
    with contextlib.suppress(OSError):
        if os.path.sameopenfile(descriptor, DESCRIPTOR_FD):
            os.close(descriptor)


def receive_descriptor(channel: bytes) -> int:
    """The descriptor that was passed for a channel's request, which it has come before.

    Args:
        channel: `wire.FOR_CONTROL` or `wire.FOR_SHELL`.

    Raises:
        ValueError: there was none, or none could be taken: code holds all that the process may have.
    """
    with room_for_descriptors(), _lock:
        while not _waiting[channel]:
            # One byte and one descriptor a message: a stream socket keeps the ancillary data with the byte it was
            # sent with. One for which there is no room is gone, and must not be missing to the other channel.
            whose, passed = _take()
            _waiting[whose].append(passed)
        if (descriptor := _waiting[channel].popleft()) == _LOST:
            raise ValueError("the host passed no descriptor, or the process may have no more")
        return descriptor


def _take() -> tuple[bytes, int]:
    # The inherited socket serves for the kernel's whole life: the object is let go without closing it.
    passing = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=DESCRIPTOR_FD)
    try:
        whose, descriptors, _, _ = socket.recv_fds(passing, 1, 1)
    finally:
        passing.detach()
    if not whose:
        raise ValueError("the host has closed the socket for descriptors")
    return whose, descriptors[0] if descriptors else _LOST
