"""What the host needs to make a kernel give way where processors are short.

Is: the file by which the weight of a kernel's session is set, handed over while the kernel still may. Is not: the
decision, which is the host's (`kernel/thread_count.py`). Above: `launch.py`. Below: the operating system.
Decision 0061.
"""

from __future__ import annotations

import os
import socket
from typing import Final

WEIGHT: Final = b'{"status": "weight"}'


def tell_weight(procfs: int, status_fd: int) -> None:
    """Hand the host the file that sets the weight of this process's session (sched(7), autogroup), where there is one.

    Call it while this process may still be inspected. It keeps nothing here.

    Args:
        procfs: a descriptor of /proc.
        status_fd: the kernel's end of its status socket, or -1.
    """
    if status_fd < 0:
        return
    try:
        weight = os.open("self/autogroup", os.O_WRONLY | os.O_CLOEXEC, dir_fd=procfs)
    except OSError:  # there is none, or /proc is read-only
        return
    try:
        with socket.socket(fileno=os.dup(status_fd)) as status:
            socket.send_fds(status, [WEIGHT], [weight])
    finally:
        os.close(weight)
