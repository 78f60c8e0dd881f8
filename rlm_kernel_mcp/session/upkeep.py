"""What a server does for the store beside its sessions' work: looks it through, and keeps it small.

Is: when. Is not: what is removed (`store_pruning.py`), or what damage is (`store_damage.py`).
Above: `registry.py`. Below: `store.py`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import Final

from rlm_kernel_mcp.session.journal import Journal
from rlm_kernel_mcp.session.store import Store

EVERY_S: Final = 50.0
"""Between two runs: what is too old or too much is gone within a minute."""

log = logging.getLogger(__name__)


async def keep_up(store: Store, every_s: float = EVERY_S) -> None:
    """Look the store through if it was too large for that when it was opened; then prune it again and again."""
    await asyncio.to_thread(store.look_through)
    while True:
        try:
            await asyncio.to_thread(store.prune, Journal.now())
        except (OSError, sqlite3.Error) as error:
            log.warning("the session store could not be pruned: %s", error)
        await asyncio.sleep(every_s)
