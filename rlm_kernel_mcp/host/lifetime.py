"""How long a host lives: until nobody has used it for a while, another version has taken over, or a signal comes.

Is: the wait for that, and looking after the place meanwhile. A host that leaves first lets nobody find it, then looks
whether somebody had found it, and stays if so: no client meets a host that is ending. Is not: what ends, and in which
order (`serving.py`). Above: `serving.py`. Below: `door.py`, `identity.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.host.door import Door
from rlm_kernel_mcp.host.identity import Seat

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0
"""Between two looks at the place, which what cleans /tmp may have taken away."""
FIRST_S: Final = 10.0
"""So much later a host counts as idle for which nobody has come yet: the front that started it may be slow."""
BUSY_S: Final = 1.0
"""Between two looks whether a step of nobody's still runs."""


class Lifetime:
    """When one host ends."""

    def __init__(self, seat: Seat, idle_s: float, is_busy: Callable[[], bool]) -> None:
        """`is_busy`: whether something runs that a client began, be that client here or not."""
        self._seat = seat
        self._idle_s = idle_s
        self._is_busy = is_busy
        self.drains = False
        """Whether it takes no further client."""
        self._is_aside = self._stops = False
        self._told = asyncio.Event()

    def drain(self) -> None:
        """Take no further client; end with the last one."""
        self.drains = True
        self._told.set()

    def stop(self) -> None:
        """End now."""
        self._stops = True
        self._told.set()

    async def over(self, door: Door) -> None:
        """Return when the host is to end; nobody can come in then."""
        loop = asyncio.get_running_loop()
        idle_since = loop.time() + FIRST_S
        while not self._stops:
            door.changed.clear()
            self._told.clear()
            if self.drains and not self._is_aside:
                self._step_aside(door)
            self._look_after(door)
            wait_s = LOOK_S
            if not door.is_idle:
                idle_since = loop.time()
            elif self._is_busy():
                idle_since, wait_s = loop.time(), BUSY_S
            elif self.drains or (loop.time() - idle_since >= self._idle_s and self._has_left(door)):
                break
            else:
                wait_s = min(LOOK_S, max(idle_since + self._idle_s - loop.time(), 0))
            await self._wait(door, wait_s)
        self._seat.leave()
        door.close()

    def _step_aside(self, door: Door) -> None:
        """Its clients stay; another host may begin at once, which asks this one for the sessions that it needs."""
        self._is_aside = True
        try:
            door.move(self._seat.step_aside())
        except (NoHost, OSError) as error:
            log.warning("other hosts do not find this one, which keeps its sessions until its end: %s", error)
            door.close()

    def _look_after(self, door: Door) -> None:
        if not self._is_aside and not self._seat.is_locked:
            log.warning("the lock of this host was removed: another may take its place, so it takes no further client")
            self.drain()
        elif not self._seat.is_found and door.is_open:
            log.warning("the socket of this host was removed: it listens anew")
            self._listen_anew(door)

    def _has_left(self, door: Door) -> bool:
        """Whether nobody had found this host before it could not be found any more; else it can be found again."""
        self._seat.leave()
        if door.is_idle:
            return True
        self._listen_anew(door)
        return False

    def _listen_anew(self, door: Door) -> None:
        """Let clients find this host again. Where that fails it keeps those whom it has, and makes way for another."""
        try:
            door.move(self._seat.take())
        except (NoHost, OSError) as error:
            log.warning("this host cannot listen anew, so it takes no further client: %s", error)
            door.close()
            self.drain()

    async def _wait(self, door: Door, seconds: float) -> None:
        events = [asyncio.create_task(event.wait()) for event in (door.changed, self._told)]
        await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
