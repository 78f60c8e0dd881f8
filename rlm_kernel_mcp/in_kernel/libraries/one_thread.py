"""The count of a process's own threads, as long as it may have one.

Is: what refuses a preloaded module that started a thread: a fork carries the locks that it holds and not the thread,
and walls are raised for one thread. Is not: a limit on user code's threads. Above: `in_kernel/preload.py`,
`in_kernel/fork_server.py`. Below: the standard library.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final

TASKS: Final = "/proc/self/task"
LOOKS: Final = 100
PAUSE_S: Final = 0.01
"""How often, and how far apart, it is looked whether a second thread is about to end: one that was joined, or a timer
that was cancelled, is there for a moment longer."""


class ThreadStarted(Exception):
    """A module that is imported ahead of all kernels has started a thread."""


def count_threads() -> int:
    """The threads of this process, also those of C code; where there is no /proc, those that Python knows."""
    try:
        return len(os.listdir(TASKS))  # noqa: PTH208  (10 us, after each of 100 modules)
    except OSError:
        return threading.active_count()


def require_one_thread(module: str) -> None:
    """Refuse to go on with more than one that stays.

    Args:
        module: what has been imported since the last count.

    Raises:
        ThreadStarted: there are more; the message names the module.
    """
    found = count_threads()
    for _ in range(LOOKS):
        if found <= 1:
            return
        time.sleep(PAUSE_S)
        found = count_threads()
    raise ThreadStarted(
        f"importing {module!r} left this process with {found} threads, and no kernel can come of it: only one survives "
        "a fork. Take the module out of RLM_IMPORTS, or out of `modules` and `preload` of policy.json; or, if it is "
        "pyarrow that starts them, use the kernelspec rlm-python-data (RLM_KERNEL), which imports that at first use."
    )
