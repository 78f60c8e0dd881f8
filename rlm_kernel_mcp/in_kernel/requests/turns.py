"""Cells that wait for their turn: each has begun, or was taken back by its client, and never both.

Is: which came first, the main thread that takes up the cell or the control thread that takes it back, settled by one
atomic operation on a dict. Is not: a wall. Above: `client_requests.py`. Below: nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

BEGUN: Final = "begun"
TAKEN_BACK: Final = "taken back"
KEPT: Final = 1_000
"""How many cells are remembered, the newest ones."""
ASKED_MAX: Final = 100
"""Cells that one request takes back at most."""


class Turns:
    """The cells of all clients of one kernel."""

    def __init__(self) -> None:
        self._cells: OrderedDict[tuple[str, str], str] = OrderedDict()

    def begin(self, session: str, msg_id: str) -> bool:
        """The cell's turn has come. Returns whether it is to run."""
        return self._settle(session, msg_id, BEGUN)

    def take_back(self, session: str, msg_ids: Sequence[str]) -> list[str]:
        """Keep cells of a client from running; returns those that have not begun."""
        return [msg_id for msg_id in msg_ids[:ASKED_MAX] if self._settle(session, str(msg_id), TAKEN_BACK)]

    def _settle(self, session: str, msg_id: str, end: str) -> bool:
        settled = self._cells.setdefault((session, msg_id), end)
        if len(self._cells) > KEPT:
            self._cells.popitem(last=False)
        return settled == end
