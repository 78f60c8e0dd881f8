"""Ctrl-C while a person's cell runs or waits: the kernel interrupts it, or takes it back before it has begun.

Is: the request, its answer, and what the person is shown where none comes. Is not: the console (`console.py`), nor the
kernel's end of it (`in_kernel/requests/client_requests.py`). Above: `console.py`. Below: `wire.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty
from typing import Any, Final

from rlm_kernel_mcp.commands.attached.onlooking import UNREADABLE
from rlm_kernel_mcp.wire import TAKE_BACK, TakeBack

ANSWER_S: Final = 1.0
"""Seconds after which the person hears that the kernel does not answer Ctrl-C."""


class GivenUp(Exception):
    """The person waits for the cell no longer; the text says what becomes of it."""


class Withdrawal:
    """The interrupt request that is under way, if any. `client`: jupyter_client's, of the console's kernel."""

    def __init__(self) -> None:
        self._request = ""
        """Id of the interrupt request that has no answer yet."""
        self._asked_s: float | None = None
        """When it was sent (monotonic), until the person hears that no answer comes."""
        self._pressed_again = False
        """Whether Ctrl-C was pressed while that is so."""

    def end(self) -> None:
        """The cell is over, and what was asked for it."""
        self._request, self._pressed_again = "", False

    def ask(self, client: Any, cell: str, *, begun: bool) -> None:
        """Ask for a cell, by the id of its request. In a signal's handler: what is answered is heard later."""
        self._pressed_again = bool(self._request) and not begun
        asked = client.session.msg("interrupt_request", TakeBack(rlm_take_back=[cell] if cell else []))
        client.control_channel.send(asked)
        self._request, self._asked_s = asked["header"]["msg_id"], time.monotonic()

    def hear(self, client: Any, cell: str, in_the_way: Callable[[], str], *, begun: bool) -> None:
        """What came of it. `in_the_way`: says what the cell waits for.

        Raises:
            GivenUp: the cell is not waited for any more.
        """
        while self._request:
            try:
                reply = client.control_channel.get_msg(timeout=0)
                answered = reply["parent_header"].get("msg_id") == self._request
                taken = reply["content"].get(TAKE_BACK)
                taken_back = answered and isinstance(taken, list) and cell in taken
            except Empty:
                break
            except UNREADABLE:
                continue
            if taken_back:
                raise GivenUp(f"Your cell was withdrawn; {in_the_way()} goes on.")
            if answered:
                self._request = ""
        if not self._request or begun:
            return
        if self._asked_s is not None and time.monotonic() - self._asked_s > ANSWER_S:
            self._asked_s = None
            print("The kernel does not answer; press Ctrl-C again to leave your cell to it.", flush=True)
        if self._pressed_again:
            raise GivenUp("The kernel has not said whether it withdrew your cell; it may still run.")
