"""A cluster whose nodes and store are a few dictionaries, for what a router does about them in every order.

Is: nodes that keep sessions by epochs as real ones do, say what they are told to say, and can be lost at each call. Is
not: a kernel, a process or a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, cast

from rlm_kernel_mcp.cluster.node.messages import Answer, Asked, Calling, Load
from rlm_kernel_mcp.cluster.router.looks import Bounds, Looks
from rlm_kernel_mcp.cluster.router.placement import Placement
from rlm_kernel_mcp.cluster.router.protocol import Node
from rlm_kernel_mcp.cluster.router.router import Router
from rlm_kernel_mcp.cluster.shared.protocol import Claim, SharedStore
from rlm_kernel_mcp.errors import NodeLost, NoRoom, RlmError, SessionMoved

SESSION_MB: Final = 256
CALLING: Final = Calling("client 1")
BOUNDS: Final = Bounds(fresh_s=0.02, pulse_s=0.05, load_s=0.2)


@dataclass
class FakeStore:
    """Who has the newest epoch of each session."""

    claims: dict[str, Claim] = field(default_factory=dict)

    async def newest(self, session_id: str) -> Claim | None:
        return self.claims.get(session_id)

    async def sessions(self) -> list[Claim]:
        return sorted(self.claims.values(), key=lambda one: one.session_id)

    def claim(self, session_id: str, epoch: int, node: str) -> None:
        newest = self.claims.get(session_id)
        if newest is not None and newest.epoch >= epoch:
            raise SessionMoved(f"{newest.node} has epoch {newest.epoch} of {session_id}.")
        self.claims[session_id] = Claim(session_id, epoch, node)


@dataclass
class FakeNode:
    """One node. `done`: what it did, as (verb, arguments, whether only to be told of)."""

    name: str
    store: FakeStore
    load_now: Load
    sessions: dict[str, int] = field(default_factory=dict)
    done: list[tuple[str, Mapping[str, Any], bool]] = field(default_factory=list)
    refuses: RlmError | None = None
    """What it answers where a session is to be opened or adopted."""
    takes_all: bool = True
    """Whether its sessions take all the memory that they may."""
    is_gone: bool = False
    hangs: set[str] = field(default_factory=set)
    """Of `load`, `call` and `adopt` those that say nothing."""
    at: Callable[[str], None] = lambda what: None
    """Called as each of them begins: it may lose the node, or have anything else done."""
    after: Callable[[str], None] = lambda what: None
    """The same as each has been done, and nobody been told."""
    cancelled: list[str] = field(default_factory=list)

    async def _come(self, what: str) -> None:
        self.at(what)
        if self.is_gone:
            raise NodeLost(f"{self.name} is gone.")
        if what in self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(what)
                raise
        await asyncio.sleep(0)

    def _went(self, what: str) -> None:
        self.after(what)
        if self.is_gone:
            raise NodeLost(f"{self.name} is gone.")

    async def load(self) -> str:
        await self._come("load")
        count = len(self.sessions)
        size = self.load_now.memory_mb - count * (SESSION_MB if self.takes_all else 1)
        return replace(self.load_now, sessions=count, live_kernels=count, memory_free_mb=size).text()

    async def call(self, verb: str, arguments: str, caller: str) -> str:
        await self._come("call")
        assert Calling.of(caller) == CALLING
        asked = Asked.of(arguments)
        answer = self._answer(verb, asked)
        self._went("call")
        return answer.text

    def _answer(self, verb: str, asked: Asked) -> Answer:
        session_id = asked.arguments.get("session_id")
        if verb.endswith("init_context"):
            if self.refuses is not None:
                return Answer.of_error(self.refuses)
            session_id = asked.arguments["name"]
            self.store.claim(session_id, 1, self.name)
            self.sessions[session_id] = 1
        elif session_id is not None:
            claim = self.store.claims.get(session_id)
            if session_id not in self.sessions or claim is None or claim.epoch != self.sessions[session_id]:
                self.sessions.pop(session_id, None)
                return Answer.of_error(SessionMoved(f"{self.name} has not got {session_id}."))
        self.done.append((verb, asked.arguments, asked.is_lost))
        return Answer.of_value(str, f"{self.name} {'unknown' if asked.is_lost else 'ok'}")

    async def adopt(self, session_id: str, epoch: int) -> None:
        await self._come("adopt")
        if self.refuses is not None:
            raise self.refuses
        self.store.claim(session_id, epoch, self.name)
        self.sessions[session_id] = epoch
        self._went("adopt")

    async def release(self, session_id: str) -> None:
        await self._come("release")
        self.sessions.pop(session_id, None)

    async def drain(self) -> None:
        self.load_now = replace(self.load_now, draining=True)
        self.sessions.clear()
        self.refuses = NoRoom(f"{self.name} is draining.")

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        """The steps that it has run."""
        return [arguments for verb, arguments, is_lost in self.done if verb == "door:run" and not is_lost]


@dataclass
class FakeCluster:
    """The nodes, as any router sees them."""

    store: FakeStore
    nodes: dict[str, FakeNode]

    @classmethod
    def of(cls, *memory_mb: int) -> FakeCluster:
        """One node for each of these sizes: `n0`, `n1` and so on."""
        store = FakeStore()
        rows = {f"n{at}": Load(f"n{at}", size, size, SESSION_MB, tier="full") for at, size in enumerate(memory_mb)}
        return cls(store, {name: FakeNode(name, store, load) for name, load in rows.items()})

    async def present(self) -> Mapping[str, Node]:
        return dict(self.nodes)

    def router(self, seed: int = 1) -> Router:
        """A router that knows nothing yet."""
        placement = Placement(Random(seed).random)
        looks = Looks(self, placement, BOUNDS)
        return Router(looks, placement, cast(SharedStore, self.store))

    def of_session(self, session_id: str) -> FakeNode:
        return self.nodes[self.store.claims[session_id].node]

    def lose(self, name: str) -> FakeNode:
        """A node that is there by nobody's word any more."""
        node = self.nodes.pop(name)
        node.is_gone = True
        return node


async def opened(router: Router, name: str, **more: Any) -> str:
    """What answers the opening of a session."""
    return await said(router, "door:init_context", name=name, **more)


async def said(router: Router, verb: str, manifest: str | None = None, **arguments: Any) -> str:
    """What a call answers."""
    answer = await router.call(verb, Asked(arguments, manifest=manifest), CALLING)
    value: str = answer.value(str)
    return value
