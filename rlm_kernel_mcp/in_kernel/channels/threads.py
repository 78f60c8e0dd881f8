"""Threads print for the cell that started them, whichever cell runs by then.

Is: a note on each thread of the request that it was started in, the streams' reading of it, and how long threads wait
for the interpreter lock. Without the note ipykernel gives a thread's output to the newest cell: an agent's threads
would print into a console's cell, and the other way round. A courtesy; is not a wall.
Above: `output.py`, `display.py`, `in_kernel/ipython/app.py`, `in_kernel/ipython/process_state.py`. Below: the standard
library, `in_kernel/asking/channel.py` (the names of its threads).
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.asking.channel import OWN_THREADS

NOT_PYTHONS: Final = 8
"""Allowance for threads that Python does not know of: libzmq has four."""
PARENT: Final = "_rlm_parent_header"
SWITCH_S: Final = 0.00002
"""Longest wait for the interpreter lock. Reading a variable in the middle of a running loop takes some of them, which
at CPython's 5 ms would be 16 ms. Code that runs in one thread does not notice."""
SWITCH_AMONG_MANY_S: Final = 0.002
"""The same among many threads, each of which wakes up as often: at the shorter wait, twenty that count ran at a third
of the speed."""
FEW_THREADS: Final = 2
"""Threads of a session's own code, beside the main thread."""


class SwitchInterval:
    """Sets the wait for the interpreter lock by how many threads there are."""

    def __init__(self) -> None:
        self._own = threading.active_count()
        self.settle()

    def settle(self) -> None:
        """Called before and after a step, and for each thread that is started."""
        count = threading.active_count() - self._own
        if count > FEW_THREADS:
            # Those of the channel wait, and are not a session's.
            count -= sum(thread.name in OWN_THREADS for thread in threading.enumerate())
        many = count > FEW_THREADS
        sys.setswitchinterval(SWITCH_AMONG_MANY_S if many else SWITCH_S)


class ThreadsOwnHeader:
    """Mixin of what publishes output: the parent header of its messages."""

    _parent_header: Any
    _parent_header_global: Any

    @property
    def parent_header(self) -> Any:
        """The header of the request that this thread or task works for; of the newest one where that is not known."""
        try:
            return self._parent_header.get()
        except LookupError:
            # The variable is set in the main thread's context; a thread begins with an empty one.
            return getattr(threading.current_thread(), PARENT, self._parent_header_global)

    @parent_header.setter
    def parent_header(self, value: Any) -> None:
        self._parent_header.set(value)
        self._parent_header_global = value


def note_parents(current: Callable[[], Any], most: int, interval: SwitchInterval) -> None:
    """From now on each thread that is started remembers what `current` says then.

    `most`: the policy's number of threads. One too many is Python's own error everywhere; where the system does not
    count them the host does, and would end the kernel.
    """
    start = threading.Thread.start

    @functools.wraps(start)
    def noting_start(self: threading.Thread) -> None:
        if threading.active_count() >= most - NOT_PYTHONS:
            raise RuntimeError("can't start new thread")
        # In the starting thread, which still knows the cell; the new one would ask too late.
        setattr(self, PARENT, current())
        start(self)
        interval.settle()

    threading.Thread.start = noting_start  # type: ignore[method-assign]  # there is no other hook
