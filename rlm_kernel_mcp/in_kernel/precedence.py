"""Who comes first where processors are short: the host, not the code in its kernels. A wall where the system has it.

Is: a kernel's niceness, set before any user code and for good. Is not: a limit: a kernel has every processor that
nobody else wants. Above: `launch.py`. Below: the operating system. Decision 0061.

There are two numbers, and each machine looks at one. Where sessions are scheduled as groups (autogroup, sched(7)), a
process's own counts among those of its session alone, and the group has one; elsewhere, as in most containers, the
process's own is what counts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Final

NICENESS: Final = 5
"""A third of the weight of what works beside it."""
AGAIN_S: Final = 0.01
TRIES: Final = 15
"""The system lets users other than root weigh one session in 100 ms."""


def lower_process(procfs: int) -> int:
    """Give this process less weight. Call it before it has a second thread, and while setpriority(2) is allowed.

    Args:
        procfs: a descriptor of /proc.

    Returns:
        A descriptor for `lower_session`; -1 where sessions are not groups.
    """
    os.nice(NICENESS)
    try:
        return os.open("self/autogroup", os.O_WRONLY | os.O_CLOEXEC, dir_fd=procfs)
    except OSError:  # none here, or /proc is read-only
        return -1


def lower_session(group: int) -> None:
    """Give this process's session less weight, just before user code: a start is not held up. Lets `group` go."""
    if group < 0:
        return
    with contextlib.suppress(OSError):  # the process's own number is all there is
        _write(group, b"%d" % NICENESS)
    os.close(group)


def _write(group: int, niceness: bytes) -> None:
    for _ in range(TRIES):
        try:
            os.write(group, niceness)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            time.sleep(AGAIN_S)
        else:
            return
