"""What a kernel inherits from the process that started it: two sockets, and nothing else.

Is: the same beginning for a fork and for a cold start, whatever the starter had open, ignored or blocked. Is not: a
wall: what is left open here is what user code finds. Above: `launch.py`, `fork_server.py`. Below: the standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import socket
from typing import Final

from rlm_kernel_mcp.wire import DESCRIPTOR_FD, STATUS_FD

HIGH_FD: Final = max(STATUS_FD, DESCRIPTOR_FD) + 1
"""From here on a descriptor is in nobody's way, however few a process may have."""


def settle_descriptors(status_fd: int, descriptor_fd: int) -> int:
    """Move the two sockets to their places in `wire.py` and close all else but the standard streams.

    Where a number is below 0 no socket was given; in its place comes one with nobody at the other end.

    Returns:
        The status socket's number, or -1 where none was given.
    """
    # Out of the way first: a descriptor must not be overwritten before it is copied.
    status, passed = (_copy(given) for given in (status_fd, descriptor_fd))
    os.dup2(status, STATUS_FD)
    os.dup2(passed, DESCRIPTOR_FD)
    # The limit may have been lowered since a descriptor above it was opened, hence at least 4096.
    os.closerange(DESCRIPTOR_FD + 1, max(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    return STATUS_FD if status_fd >= 0 else -1


def _copy(given: int) -> int:
    if given >= 0:
        return fcntl.fcntl(given, fcntl.F_DUPFD, HIGH_FD)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD, HIGH_FD)


def forget_inherited_signals() -> None:
    """Undo the signal actions and mask of whoever started this process: `nohup`, a CI runner, a shell's job control.

    An interrupt is for a running step: until there is one it does nothing.
    """
    # An ignored signal stays ignored across execve(2), so `nohup` would take SIGHUP away from every kernel. CPython
    # itself ignores SIGPIPE and SIGXFSZ, which makes them errors of the call (EPIPE, EFBIG).
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        with contextlib.suppress(OSError):  # those that the C library uses itself
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def silence_streams() -> None:
    """Send the standard streams to the null device: nobody reads them from now on."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    # A process that was started with a closed standard stream gets that number here.
    if null > 2:
        os.close(null)
