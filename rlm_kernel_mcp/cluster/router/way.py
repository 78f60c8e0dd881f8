"""A cluster as one process has it: a router, the store, and whatever ends with them.

Is: that. Is not: how a cluster is joined, nor a call. Above: `door.py`, `routed.py`, the entrance of a cluster. Below:
`router.py`, `cluster/shared/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import Self

from rlm_kernel_mcp.cluster.router.looks import Looks
from rlm_kernel_mcp.cluster.router.placement import Placement
from rlm_kernel_mcp.cluster.router.protocol import Nodes
from rlm_kernel_mcp.cluster.router.router import Router
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore


async def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class Way:
    """One way into a cluster. Belongs to the event loop."""

    router: Router
    store: SharedStore
    leave: Callable[[], Awaitable[None]] = _nothing

    @classmethod
    def of(cls, nodes: Nodes, store: SharedStore, leave: Callable[[], Awaitable[None]] = _nothing) -> Self:
        """A way by a router of its own. `leave`: ends what the nodes are reached by."""
        placement = Placement(SystemRandom().random)
        return cls(Router(Looks(nodes, placement), placement, store), store, leave)

    async def close(self) -> None:
        """End it; no session is ended by that."""
        await self.router.close()
        await self.store.close()
        await self.leave()
