"""What a server does for the store beside its sessions' work: it checks the store and keeps it small.

Is: when. Is not: what is removed (`pruning.py`), or what damage is (`database/damage.py`).
Above: `session/registry.py`. Below: `store.py`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

from rlm_kernel_mcp.store.database.damage import FAILURES
from rlm_kernel_mcp.store.database.file import explain_error
from rlm_kernel_mcp.store.store import Store

EVERY_S: Final = 50.0
"""Between two runs, so that what is too old or too much is gone within a minute."""

COPY_DAYS: Final = 36_500.0
"""Sessions of a node of a cluster are removed as they leave it, and never for their age."""
JUMP: Final = timedelta(days=1)
"""How far the system's clock may run ahead of this server's own; beyond that, somebody has set it."""

log = logging.getLogger(__name__)
_threads: Final = ThreadPoolExecutor(1, thread_name_prefix="upkeep of the store")
"""Not asyncio's own threads: the server's end would wait for those, and its client kills it after 2 s."""


def _since_boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # as the monotonic one, but goes on while the machine sleeps


class PruningClock:
    """The time that ages are counted to.

    It is the system's clock, as long as that is not ahead of the time that has passed since the server began: a clock
    set far ahead would make every session old, and nothing brings back what was removed.
    """

    def __init__(
        self, wall: Callable[[], datetime] = lambda: datetime.now(UTC), since_s: Callable[[], float] = _since_boot_s
    ) -> None:
        self._wall, self._since_s = wall, since_s
        self._begun, self._begun_s = wall(), since_s()
        self._told = False

    def now_iso(self) -> str:
        """UTC, ISO 8601."""
        wall = self._wall()
        latest = self._begun + timedelta(seconds=self._since_s() - self._begun_s) + JUMP
        if wall > latest and not self._told:
            log.warning(
                "the system's clock was set to %s, more than a day ahead of the time that has passed: sessions are not "
                "removed for their age by it until this server is restarted",
                wall.isoformat(timespec="seconds"),
            )
        self._told = wall > latest
        return min(wall, latest).isoformat(timespec="milliseconds")


async def keep_up(store: Store, every_s: float = EVERY_S) -> None:
    """Look the store through if it was too large for that when it was opened; then prune it again and again.

    Of a store that others follow no session is removed for its age or its size: they would look for it here.
    """
    clock, loop = PruningClock(), asyncio.get_running_loop()
    await loop.run_in_executor(_threads, store.look_through)
    while True:
        try:
            bounds = (COPY_DAYS, math.inf) if store.following.has_begun else ()
            await loop.run_in_executor(_threads, store.prune, clock.now_iso(), *bounds)
        except (OSError, *FAILURES) as error:
            log.warning("the session store could not be pruned: %s", explain_error(error))
        await asyncio.sleep(every_s)
