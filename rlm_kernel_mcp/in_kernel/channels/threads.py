"""Threads print for the cell that started them, whichever cell runs by then.

Is: a note on each thread of the request that it was started in, and the streams' reading of it. Without it ipykernel
gives a thread's output to the newest cell: an agent's threads would print into a console's cell, and the other way
round. A courtesy; is not a wall. Above: `output.py`, `display.py`, `in_kernel/ipython/app.py`. Below: the standard
library.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Final

NOT_PYTHONS: Final = 8
"""Room for threads that Python knows nothing of: libzmq has four."""
PARENT: Final = "_rlm_parent_header"


class ThreadsOwnHeader:
    """Mixin of what publishes output: the parent header of its messages."""

    _parent_header: Any
    _parent_header_global: Any

    @property
    def parent_header(self) -> Any:
        """Of the request that this thread or task works for; of the newest one where nobody knows."""
        try:
            return self._parent_header.get()
        except LookupError:
            return getattr(threading.current_thread(), PARENT, self._parent_header_global)

    @parent_header.setter
    def parent_header(self, value: Any) -> None:
        self._parent_header.set(value)
        self._parent_header_global = value


def note_parents(current: Callable[[], Any], most: int) -> None:
    """From now on each thread that is started remembers what `current` says then.

    `most`: the policy's number of threads. One too many is Python's own error everywhere; where the system does not
    count them the host does, and would end the kernel.
    """
    start = threading.Thread.start

    @functools.wraps(start)
    def noting_start(self: threading.Thread) -> None:
        if threading.active_count() >= most - NOT_PYTHONS:
            raise RuntimeError("can't start new thread")
        setattr(self, PARENT, current())
        start(self)

    threading.Thread.start = noting_start  # type: ignore[method-assign]  # there is no other hook
