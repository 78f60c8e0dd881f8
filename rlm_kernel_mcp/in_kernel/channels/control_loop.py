"""The event loop of the control thread, which has memory for a request also beside a step that has filled its own.

Is: lifting the step's limit a little from when something has come until all of it is served: receiving, reading and
answering a request need memory, and one that finds none is lost. Is not: a wall; the hard limit stays, and most of the
gap below it is never lent. Above: `in_kernel/ipython/app.py`. Below: ipykernel, `in_kernel/walls/limits.py`.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, Final

from ipykernel.thread import IOLoop  # type: ignore[attr-defined]  # tornado's, which ipykernel uses

from rlm_kernel_mcp.in_kernel.walls.limits import soft_memory_of_requests

_Selector = selectors.DefaultSelector
_Ready = list[tuple[selectors.SelectorKey, int]]
_NOTHING: Final[_Ready] = []


class LendingSelector(_Selector):
    """Waits under the limit of the step that runs, and lifts it for what has come."""

    def select(self, timeout: float | None = None) -> _Ready:
        """Wait for events; as the selector's."""
        try:
            soft_memory_of_requests(False)
            ready = _Selector.select(self, timeout)  # not by `super()`, an object that needs memory in Python 3.11
            soft_memory_of_requests(True)
        except MemoryError:
            try:
                soft_memory_of_requests(True)
                return _Selector.select(self, 0)  # what has come is reported again
            except MemoryError:
                return _NOTHING  # the loop goes on, and asks again
        return ready


def control_loop() -> Any:
    """Make the loop."""
    return IOLoop(asyncio_loop=asyncio.SelectorEventLoop(LendingSelector()), make_current=False)
