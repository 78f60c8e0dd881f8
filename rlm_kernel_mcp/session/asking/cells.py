"""A console's cells, which ask too: which of them run, as far as the host has heard.

Is: the wait for word of a cell whose question came first, by another socket, and the watch for its end. Is not: a
proof: a kernel can make up cells, and asks for them within its session's limits. Above: `questions.py`.
Below: `asking.py`, `kernel/client.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final, Protocol

from rlm_kernel_mcp.session.asking.asking import Asking

LOOK_S: Final = 0.02
TOLD_AT_ONCE: Final = 200
"""Questions of which it is told in one look who asks them: each may be asked then."""
HEARD_S: Final = 10.0
"""How long a question waits for word of the cell that asks it: on a busy machine that can be late by seconds."""

Found = Callable[[Asking | None], None]


class Hears(Protocol):
    """A kernel's client, as far as cells are concerned."""

    def has_sent(self, msg_id: str) -> bool:
        """Whether it is a request of the host's own."""

    def runs_cell(self, msg_id: str) -> bool:
        """Whether a console's cell is running under it."""


class Cells:
    """Those of one kernel. Belongs to the event loop."""

    def __init__(self, client: Hears, began: Callable[[str], Asking], ended: Callable[[Asking], None]) -> None:
        self._client, self._began, self._ended = client, began, ended
        self._running: dict[str, Asking] = {}
        self._sought: list[tuple[str, float, Found]] = []
        """Questions of requests that nobody has heard of yet, and until when they may wait."""
        self._look: asyncio.TimerHandle | None = None

    @property
    def running(self) -> Collection[Asking]:
        """Those that have asked."""
        return self._running.values()

    def may_be_one(self, msg_id: str) -> bool:
        """Whether it can be the id of a cell."""
        return not self._client.has_sent(msg_id)

    def find(self, msg_id: str, found: Found) -> None:
        """Say who asks, now or once it is heard of; None where that does not come."""
        if msg_id in self._running or self._client.runs_cell(msg_id):
            found(self._cell(msg_id))
        else:
            self._sought.append((msg_id, asyncio.get_running_loop().time() + HEARD_S, found))
        self._look_later()

    def close(self) -> None:
        """The kernel is gone, or has no channel any more."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._sought = []
        for cell in list(self._running.values()):
            self._ended(cell)
        self._running = {}

    def _cell(self, msg_id: str) -> Asking:
        if msg_id not in self._running:
            self._running[msg_id] = self._began(msg_id)
        return self._running[msg_id]

    def _look_later(self) -> None:
        if self._look is None and (self._running or self._sought):
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_now)

    def _look_now(self) -> None:
        self._look = None
        now_s = asyncio.get_running_loop().time()
        sought, self._sought, told = self._sought, [], 0
        for msg_id, until_s, found in sought:
            is_heard_of = self._client.runs_cell(msg_id)
            if told >= TOLD_AT_ONCE or not (is_heard_of or now_s >= until_s):
                self._sought.append((msg_id, until_s, found))
            else:
                found(self._cell(msg_id) if is_heard_of else None)
                told += 1
        for msg_id in [one for one in self._running if not self._client.runs_cell(one)]:
            self._ended(self._running.pop(msg_id))
        self._look_later()
