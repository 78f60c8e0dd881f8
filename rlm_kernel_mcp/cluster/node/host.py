"""A node of a cluster: a registry as at home, whose sessions others can have, and no more of a cluster than that.

Is: what a router asks of a node: calls, adoption, release, how full it is, draining; and its beginning and end. Is not:
what carries the asking, where sessions go (`cluster/router/`), or what an answer waits for (`replication.py`). Above:
those who carry it. Below: `calls.py`, `moves.py`, `replication.py`, `session/registry.py`.

It takes a router at its word: only who has the cluster's token gets to it. Of kernels it believes no more than at home.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections import OrderedDict
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.cluster.node.asked import registry_for
from rlm_kernel_mcp.cluster.node.calls import OF_THE_RECORD, OPENS, RUNS, NodeCalls
from rlm_kernel_mcp.cluster.node.carrying import Carrying
from rlm_kernel_mcp.cluster.node.forgetting import Forgetting
from rlm_kernel_mcp.cluster.node.fullness import Memory, Walls, walls_of
from rlm_kernel_mcp.cluster.node.messages import Answer, Asked, Calling, Load
from rlm_kernel_mcp.cluster.node.moves import NodeMoves
from rlm_kernel_mcp.cluster.node.place import NodePlace
from rlm_kernel_mcp.cluster.node.replication import Replication
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.errors import (
    InternalError,
    NodeLost,
    NoRoom,
    RlmError,
    SandboxUnavailable,
    SessionBusy,
    SessionMoved,
)
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.kernels.slots import KernelSlots, SlotOwner
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import made_in_thread, shielded
from rlm_kernel_mcp.variables.cluster import ClusterSettings

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)

CALLERS_MAX: Final = 4_096
"""Connections that are known; who has not called for longest is a new one when it calls again."""
CONTEXTS_MAX: Final = 1_000
CLOSE_S: Final = 30.0


@dataclass(slots=True, eq=False)
class ClusterCaller(Caller):
    """A client of some router. The node's slots are for whoever comes: routers place by what is free."""

    @property
    def slot_owner(self) -> SlotOwner:
        return SlotOwner("", self.settings.max_sessions)


@dataclass(frozen=True, slots=True)
class _Open:
    """What a node has from its beginning to its end."""

    registry: Registry
    moves: NodeMoves
    replication: Replication
    walls: Walls
    slots: KernelSlots


class NodeHost:
    """One node. Its methods belong to one event loop."""

    def __init__(self, settings: Settings, cluster: ClusterSettings, shared: SharedStore) -> None:
        """`shared` is closed by whoever opened it."""
        self._settings, self._cluster, self._shared = settings, cluster, shared
        self._callers: OrderedDict[tuple[str, str], Caller] = OrderedDict()
        self._parts: _Open | None = None
        self._ends = AsyncExitStack()

    # --- its beginning and its end ----------------------------------------------------------------

    async def open(self) -> None:
        """Make it ready for calls.

        Raises:
            KernelStartFailed, InvalidInput. Walls that do not hold are told by `load`: it takes nothing then.
        """
        try:
            walls = await walls_of(self._settings)
        except SandboxUnavailable as error:
            log.error("%s", error.message)
            walls = Walls("", "")
        async with AsyncExitStack() as ends:
            name, state_dir = self._cluster.node, self._settings.state_dir
            place = await made_in_thread(lambda: NodePlace.made(state_dir, name), NodePlace.remove)
            ends.push_async_callback(asyncio.to_thread, place.remove)
            self._settings = replace(self._settings, state_dir=place.directory, context_roots=())
            replication = Replication(self._cluster, self._shared, self._on_moved)
            module = await asyncio.to_thread(importlib.import_module, "rlm_kernel_mcp.session.registry")
            slots = KernelSlots(self._settings.max_sessions)
            registry = await module.Registry.open(self._settings, slots, durable=replication)
            ends.push_async_callback(registry.close)
            ends.push_async_callback(replication.close)
            carrying = replication.parts = Carrying(registry)
            await carrying.begin()
            moves = NodeMoves(self._cluster, registry, replication, self._shared)
            ends.push_async_callback(moves.close)
            idle_s = self._settings.idle_timeout_s
            moves.watch(idle_s)
            forgetting = Forgetting(name, idle_s, self._shared, lambda one: replication.epoch_of(one) > 0)
            ends.push_async_callback(forgetting.close)
            forgetting.begin()
            self._parts = _Open(registry, moves, replication, walls, slots)
            self._ends = ends.pop_all()

    async def close(self) -> None:
        """End every kernel. What is in the shared store stays there, for whoever takes the sessions over."""
        self._parts = None
        ends, self._ends = self._ends, AsyncExitStack()
        await shielded(ends.aclose(), "the end of a node", within_s=CLOSE_S)

    @property
    def held(self) -> tuple[str, ...]:
        """The sessions that it drives."""
        return () if self._parts is None else self._parts.replication.held

    def _on_moved(self, session_id: str) -> None:
        if (parts := self._parts) is not None:
            parts.moves.end_soon(session_id)

    def _open(self) -> _Open:
        if self._parts is None:
            raise NodeLost(f"Node {self._cluster.node} has ended.")
        return self._parts

    # --- what a router asks -------------------------------------------------------------------------

    async def call(self, verb: str, arguments: str, caller: str) -> str:
        """Have a call of a client done. It raises nothing: what goes wrong is its answer."""
        try:
            return await self._answered(verb, Asked.of(arguments), self._caller(Calling.of(caller)))
        except RlmError as error:
            return Answer.of_error(error).text
        except Exception:  # the edge: an exception would travel on as a pickle
            log.exception("%s failed", verb)
            return Answer.of_error(InternalError("The call failed inside the node; its log has the details.")).text

    async def adopt(self, session_id: str, epoch: int) -> None:
        """Take a session over. Raises: SessionMoved, SessionNotFound, NoRoom, StoreUnavailable, StoreDamaged."""
        parts = self._open()
        self._require_room(parts)
        await parts.moves.adopt(session_id, epoch)

    async def release(self, session_id: str) -> None:
        """Let a session go: its values kept, all of it durable. Raises: SessionBusy, SessionMoved, StoreUnavailable."""
        await self._open().moves.release(session_id)

    async def load(self) -> str:
        """How full it is. It waits for nothing."""
        parts = self._open()
        memory = self._memory(parts)
        sessions = parts.registry.handles.sessions
        contexts = [one for each in sessions.values() for one in each.contexts.contexts.all]
        had = {one.source.manifest or (one.report.sha256 if one.report else None) for one in contexts}
        return Load(
            node=self._cluster.node,
            memory_mb=memory.total_mb,
            memory_free_mb=memory.free_mb,
            session_mb=parts.registry.settings.memory_limit_mb,
            sessions=len(parts.replication.held),
            live_kernels=_kernels(parts),
            tier=parts.walls.tier,
            policy=parts.walls.policy,
            contexts=sorted(one for one in had if one)[:CONTEXTS_MAX],
            draining=parts.moves.is_draining,
            staying=parts.moves.staying,
            pid=os.getpid(),
        ).text()

    async def drain(self) -> None:
        """Take no new session, release those that are idle, and the others as they end."""
        await self._open().moves.drain()

    # --- a call ---------------------------------------------------------------------------------------

    async def _answered(self, verb: str, asked: Asked, caller: Caller) -> str:
        parts = self._open()
        registry = registry_for(asked, parts.registry, parts.replication, self._shared)
        calls = NodeCalls(registry, caller)
        session_id = asked.arguments.get("session_id")
        if not isinstance(session_id, str):
            if verb in OPENS:
                self._require_room(parts)
            return await calls.done(verb, asked)
        kept = parts.replication.driven(session_id)
        begins, answer = kept.begins, None
        with suppress(SessionMoved):  # a tool's answer may say that too
            answer = await calls.done(verb, asked)
            if verb in OF_THE_RECORD:
                await parts.replication.look(kept)
        if answer is None or kept.moved is not None:
            raise _moved_meanwhile(session_id, has_run=verb in RUNS and kept.begins > begins)
        return answer

    def _require_room(self, parts: _Open) -> None:
        """Raise NoRoom if it takes no session more."""
        name, session_mb = self._cluster.node, parts.registry.settings.memory_limit_mb
        if parts.moves.is_draining:
            raise NoRoom(f"Node {name} is being drained and takes no session.")
        if not parts.walls.tier:
            raise NoRoom(f"Node {name} takes no session: walls that the policy requires do not hold there.")
        try:
            parts.slots.check_free("", SlotOwner("", self._settings.max_sessions))
        except SessionBusy as error:
            raise NoRoom(f"Node {name}: {error.message}") from None
        if (free_mb := self._memory(parts).free_mb) < session_mb:
            raise NoRoom(f"Node {name} has {free_mb:,} MB of memory free, and a session may take {session_mb:,} MB.")

    def _memory(self, parts: _Open) -> Memory:
        """Of the machine, as far as it is this node's: where that is bounded, a kernel counts with its limit."""
        taken_mb = _kernels(parts) * parts.registry.settings.memory_limit_mb
        return Memory.now().within(self._cluster.memory_mb, taken_mb)

    def _caller(self, calling: Calling) -> Caller:
        """The connection, as an earlier call of it had it."""
        key = (calling.connection, calling.client)
        if (known := self._callers.pop(key, None)) is None:
            known = ClusterCaller(calling.connection, self._settings, Roots(), calling.client)
        self._callers[key] = known
        if len(self._callers) > CALLERS_MAX:
            self._callers.popitem(last=False)[1].close()
        return known


def _moved_meanwhile(session_id: str, *, has_run: bool) -> RlmError:
    """What is said of a call that was under way when another node took the session over."""
    if has_run:
        return NodeLost(f"Session {session_id} was taken over by another node while a step of it was under way.")
    return SessionMoved(f"Session {session_id} was taken over by another node, and this call is not acknowledged.")


def _kernels(parts: _Open) -> int:
    return sum(each.has_kernel for each in parts.registry.handles.sessions.values())
