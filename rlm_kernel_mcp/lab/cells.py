"""The cells of all pages that a kernel has not ended yet: those that an interrupt is for.

Is: their ids, by the client session in whose name each was sent. Is not: the interrupt (`live_kernel.py`). It outlives
a page's connection, which a page makes anew while its cell runs. Sans-I/O. Above: `live_kernel.py`. Below: nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

KEPT: Final = 1_000
"""The newest ones."""


class Cells:
    """Of one kernel."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, str] = OrderedDict()

    def begin(self, cell: str, session: str) -> None:
        """A page sends one."""
        self._sent[cell] = session
        if len(self._sent) > KEPT:
            self._sent.popitem(last=False)

    def end(self, cell: str) -> None:
        """The kernel has answered one, or is done with it; of what is none of them nothing is known."""
        self._sent.pop(cell, None)

    def by_session(self) -> dict[str, list[str]]:
        """Those that wait or run, in their order."""
        found: dict[str, list[str]] = {}
        for cell, session in self._sent.items():
            found.setdefault(session, []).append(cell)
        return found
