"""Runs a long search that releases the interpreter lock in a thread of its own, so that interrupts do not wait for it.

Is: for a call of RE2 over gigabytes: Python handles signals only between two calls. Is not: a way to be faster.
Above: `expressions.py`. Below: the standard library.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Final

from rlm_kernel_mcp.in_kernel.explore.matching.windows import Spans

AT_A_TIME: Final = 4_096
AHEAD: Final = 4
"""Batches that are made before somebody asks for them."""
PUT_S: Final = 0.1
"""How often the thread checks whether they are still wanted."""


def in_a_thread(made: Iterator[Spans]) -> Iterator[Spans]:
    """The same, made in a thread, which ends after the call it is in once nobody wants more.

    That is also when the interpreter ends: not an executor's thread, for which it would wait first.
    """
    ready: queue.Queue[Spans | None] = queue.Queue(AHEAD)
    unwanted, main = threading.Event(), threading.main_thread()
    failed: list[BaseException] = []

    def put(batch: Spans | None) -> bool:
        while not unwanted.is_set() and main.is_alive():
            with contextlib.suppress(queue.Full):
                ready.put(batch, timeout=PUT_S)
                return True
        return False

    def end(kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        del kind, traceback
        if error is not None:
            failed.append(error)
        put(None)
        return True  # it is raised where the matches are wanted

    def make() -> None:
        with contextlib.ExitStack() as stack:
            stack.push(end)
            all(map(put, made))

    try:
        threading.Thread(target=make, name="search").start()
        while (batch := ready.get()) is not None:
            yield batch
        if failed:
            raise failed[0]
    finally:
        unwanted.set()
