"""A cluster of real nodes in one process, over a folder: all of one but Ray. A node of it can be lost.

Is: what routers see of it. Is not: a process that is killed (`tests/cluster/node/`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_kernel_mcp.cluster.node.host import NodeHost
from rlm_kernel_mcp.cluster.router.door import ClusterDoor
from rlm_kernel_mcp.cluster.router.protocol import Node
from rlm_kernel_mcp.cluster.router.way import Way
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.errors import NodeLost


@dataclass
class Lossy:
    """A node that can be lost: from then on nobody hears of it."""

    host: NodeHost
    is_lost: bool = False
    calls: list[str] = field(default_factory=list)
    at_call: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    async def _through(self, work: Any) -> Any:
        if self.is_lost:
            work.close()
            raise NodeLost("It is lost.")
        doing = asyncio.ensure_future(work)
        losing = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait({doing, losing}, return_when=asyncio.FIRST_COMPLETED)
            if self.is_lost:
                raise NodeLost("It is lost.")
            return doing.result()
        finally:
            losing.cancel()
            if not self.is_lost:
                doing.cancel()

    async def call(self, verb: str, arguments: str, caller: str) -> str:
        self.calls.append(verb)
        self.at_call.set()
        said: str = await self._through(self.host.call(verb, arguments, caller))
        return said

    async def adopt(self, session_id: str, epoch: int) -> None:
        await self._through(self.host.adopt(session_id, epoch))

    async def release(self, session_id: str) -> None:
        await self._through(self.host.release(session_id))

    async def load(self) -> str:
        said: str = await self._through(self.host.load())
        return said

    async def drain(self) -> None:
        await self._through(self.host.drain())


@dataclass
class PlainCluster:
    """Two nodes in this process, and a folder."""

    nodes: dict[str, Lossy]
    store: Path

    async def present(self) -> Mapping[str, Node]:
        return {name: node for name, node in self.nodes.items() if not node.is_lost}

    async def open_way(self, _program: Program) -> Way:
        return Way.of(self, open_store(str(self.store)))

    def door(self, **env: str) -> ClusterDoor:
        return ClusterDoor(env, self.open_way)

    def lose(self, name: str) -> None:
        self.nodes[name].is_lost = True
        self.nodes[name].lost.set()

    async def node_of(self, session_id: str) -> str:
        store = open_store(str(self.store))
        try:
            claim = await store.newest(session_id)
        finally:
            await store.close()
        assert claim is not None
        return claim.node
