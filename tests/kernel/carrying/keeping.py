"""A store that nodes of a test share: a dict, filled in the order in which a real one is, by whoever keeps sessions.

Is: `Durable` over `session/carrying/`, without epochs, files or another process. Is not: the cluster's
(`rlm_kernel_mcp/cluster/`), which has tests of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rlm_kernel_mcp.errors import SessionMoved
from rlm_kernel_mcp.session.carrying.durable import Progress
from rlm_kernel_mcp.session.carrying.outgoing import Sent, added
from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import WAIT_S

Kept = dict[str, bytes]


@dataclass
class Shared:
    """What all nodes see."""

    sessions: dict[str, Kept] = field(default_factory=dict)
    owners: dict[str, Keeper] = field(default_factory=dict)


@dataclass(eq=False)
class Keeper:
    """`Durable` of one node. `within_s`, `bytes_max`: what a step's values may take."""

    shared: Shared
    within_s: float = WAIT_S
    bytes_max: int = 64 << 20
    sent: dict[str, Sent] = field(default_factory=dict)
    registry: Registry | None = None
    turns: dict[str, asyncio.Lock] = field(default_factory=dict)
    appended: list[list[str]] = field(default_factory=list)
    """The keys of each append."""

    @property
    def has(self) -> Registry:
        assert self.registry is not None
        return self.registry

    def require(self, session_id: str) -> None:
        if self.shared.owners.get(session_id) is not self:
            raise SessionMoved(f"Session {session_id} is driven by another node.")

    def begun(self, session_id: str) -> None:
        assert session_id in self.shared.owners

    async def opened(self, progress: Progress) -> None:
        self.shared.owners[progress.session_id], self.shared.sessions[progress.session_id] = self, {}
        await self.kept(progress)

    async def released(self, progress: Progress) -> None:
        assert await self.kept(progress) == ()

    async def kept(self, progress: Progress) -> tuple[str, ...]:
        session_id = progress.session_id
        async with self.turns.setdefault(session_id, asyncio.Lock()):
            while True:
                sent = self.sent.get(session_id, Sent())
                store, bounds = self.has.store, {"within_s": self.within_s, "bytes_max": self.bytes_max}
                found = await added(store, progress, sent, **bounds)  # type: ignore[arg-type]
                if self.shared.owners.get(session_id) is not self:
                    await self.has.handles.moves.taken_over(session_id)
                    self.require(session_id)
                kept = self.shared.sessions[session_id]
                self.appended.append([key for key, _ in found.frames])
                for key, body in found.frames:
                    kept.pop(key, None)
                    kept |= {} if body is None else {key: body}
                self.sent[session_id] = found.sent
                if found.is_all:
                    return found.lacking

    async def take_over(self, session_id: str, why: str = "its node was lost") -> None:
        """Another node's session is this one's now."""
        self.shared.owners[session_id] = self
        frames = list(self.shared.sessions[session_id].items())
        self.sent[session_id] = await self.has.handles.moves.take_over(session_id, frames, why)

    @contextmanager
    def lost(self) -> Iterator[None]:
        """Nothing that this node says is heard any more."""
        for session_id, owner in list(self.shared.owners.items()):
            if owner is self:
                del self.shared.owners[session_id]
        yield
