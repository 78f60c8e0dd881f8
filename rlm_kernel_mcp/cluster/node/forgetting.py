"""Sessions that nobody has used for as long as one is kept at home leave the shared store.

Is: when this node looks for them, and which those are, by the time of the last use in a session's own row. Is not: how
one is removed, whoever may want it just then (`cluster/shared/sweeping.py`). Above: `host.py`. Below:
`cluster/shared/protocol.py`, `store/pruning.py`, `store/carrying/rows.py`.

A session that this node drives stays. So does one whose claim was not there an hour ago: somebody may just be taking it
over. The node that had a session last goes before others, which give it a day; by then no node has a kernel for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from rlm_kernel_mcp.cluster.shared.protocol import Claim, SharedStore
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.store.carrying.rows import Key, key_of, row_of
from rlm_kernel_mcp.store.pruning import MAX_AGE_DAYS
from rlm_kernel_mcp.store.upkeep import PruningClock

log = logging.getLogger(__name__)

EVERY_S: Final = 3_600.0
OTHERS_MORE: Final = timedelta(days=1)
"""How much longer a session of another node stays: a console that is attached may hold its kernel for half of that."""
NOW: Final = datetime.min.replace(tzinfo=UTC)


class Forgetting:
    """One node's. As a `Judge` it is asked in a thread."""

    key = key_of(Key("sessions", ()))

    def __init__(
        self,
        node: str,
        idle_timeout_s: float,
        shared: SharedStore,
        is_driven: Callable[[str], bool],
        now_iso: Callable[[], str] | None = None,
    ) -> None:
        """`is_driven`: whether this node drives a session; from any thread."""
        self._node, self._shared, self._is_driven = node, shared, is_driven
        self._kept_for = max(timedelta(days=MAX_AGE_DAYS), timedelta(seconds=idle_timeout_s))
        self._now_iso = now_iso or PruningClock().now_iso
        self._now = NOW
        self._known = dict[Claim, datetime]()
        """When each session that there was may go, as far as it is known; by the newest claims of the last time."""
        self._found = dict[Claim, datetime]()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """From now on, look now and then."""
        self._task = asyncio.create_task(self._now_and_then(), name="removal of old sessions")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _now_and_then(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                gone = await self.once()
            except RlmError as error:
                log.warning("old sessions stay in the shared store for now: %s", error.message)
            else:
                log.info("removed from the shared store, unused for too long: %d sessions", len(gone))

    async def once(self) -> list[str]:
        """Look, and remove; which those were. Raises: StoreUnavailable."""
        self._now, self._found = datetime.fromisoformat(self._now_iso()), {}
        gone = await self._shared.forget(self._node, self)
        self._known = self._found
        return gone

    # --- the judge ----------------------------------------------------------------------------------

    def may_go(self, claim: Claim) -> bool:
        """As `Judge`."""
        at = self._known.get(claim)
        self._found[claim] = at or NOW
        return at is not None and at <= self._now and not self._is_driven(claim.session_id)

    def goes(self, claim: Claim, body: bytes) -> bool:
        """As `Judge`. Raises: StoreDamaged: it is no row of that session."""
        _, row = row_of(self.key, body, claim.session_id)
        try:
            used = datetime.fromisoformat(str(row.get("last_used_at"))).astimezone(UTC)
        except ValueError:  # at home it stays too
            return False
        at = used + self._kept_for + (timedelta() if claim.node == self._node else OTHERS_MORE)
        self._found[claim] = at
        return at <= self._now and not self._is_driven(claim.session_id)
