"""The console's client of a kernel, behind bounds: what a kernel sends costs this process no more than they allow.

Is: jupyter_client's own, over other sockets. Is not: the bounds (`kernel/bounded_sockets.py`). Above: `console.py`.
Below: `kernel/bounded_sockets.py`, jupyter_client.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from jupyter_client.blocking.client import BlockingKernelClient

from rlm_kernel_mcp.kernel.bounded_sockets import BoundedSockets

MESSAGES_MAX: Final = 100
"""That libzmq keeps for one socket until they are read."""
TOLD_MAX: Final = 10


class BoundedClient(BlockingKernelClient):
    """A blocking client."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.context.rcvhwm = MESSAGES_MAX
        self._told = deque[str](maxlen=TOLD_MAX)
        self._bounded = BoundedSockets(lambda _path, why: self._told.append(why))

    def _make_url(self, channel: str) -> str:
        url: str = super()._make_url(channel)
        return self._bounded.url(url)

    def news(self) -> str:
        """What a person is to know of the connection, in whole lines; empty where nothing is."""
        lines = []
        while self._told:
            why = self._told.popleft()
            lines.append(
                f"[the kernel has sent {why}: the connection was ended, and is made anew; what was on it is lost]"
            )
        return "".join(f"{line}\n" for line in lines)
