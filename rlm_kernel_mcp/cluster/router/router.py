"""The way of each call to the node that has its session: placed, found, moved, and never run twice.

Is: what becomes of a call whose node is full, is not the right one, or is lost. Is not: the nodes (`looks.py`), the
choice of one (`placement.py`), or what a call is made of (`door.py`, `routed.py`). Above: `way.py`. Below:
`looks.py`, `placement.py`, `protocol.py`, `cluster/node/messages.py`, `cluster/shared/`.

A router holds nothing: which node has a session the newest epoch in the shared store says, and what is remembered of it
costs one call more where it is wrong. Any other router answers for the same handles.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final
from weakref import WeakValueDictionary

from rlm_kernel_mcp.cluster.node.messages import Answer, Asked, Calling, Load
from rlm_kernel_mcp.cluster.router.looks import Looks
from rlm_kernel_mcp.cluster.router.placement import Placement
from rlm_kernel_mcp.cluster.router.protocol import Node
from rlm_kernel_mcp.cluster.shared.protocol import Claim, SharedStore
from rlm_kernel_mcp.errors import NodeLost, NoRoom, RlmError, SessionBusy, SessionMoved, SessionNotFound

log = logging.getLogger(__name__)

OPENS: Final = ("tool:rlm_init_context", "door:init_context")
STEPS: Final = ("tool:rlm_run_repl", "door:run")
"""A call that may have had an effect on the world of its session, and is not done again."""
TRIES: Final = 8
"""Nodes that a call goes to: each is another one, or the session has moved in between."""
NOT_TAKEN: Final = (NodeLost, NoRoom, SessionMoved)
"""What a node answers that has not done a call. A step that it has begun is lost where it cannot acknowledge it."""
_ERROR: Final = '{"error":'
KNOWN_MAX: Final = 100_000
"""Handles of which it is remembered where they are."""


class Router:
    """One way in. Belongs to the event loop."""

    def __init__(self, looks: Looks, placement: Placement, store: SharedStore) -> None:
        self._looks, self._placement, self._store = looks, placement, store
        self._known: dict[str, Claim] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """A lock for each session that is just being moved: its other calls wait for the one that does it."""

    async def call(self, verb: str, asked: Asked, calling: Calling) -> Answer:
        """Have a call done by the node that has its session, or is to have it.

        Raises:
            SessionBusy: no node has room, with the numbers. SessionNotFound. ClusterUnavailable, StoreUnavailable.
        """
        caller = calling.text()
        if verb in OPENS:
            return await self._opened(verb, asked, caller)
        session_id = asked.arguments.get("session_id")
        if not isinstance(session_id, str) or not session_id:
            return await self._anywhere(verb, asked, caller)  # which refuses it, in its own words
        return await self._of_session(session_id, verb, asked, caller)

    async def nodes(self) -> Mapping[str, Node]:
        """Those that are there. Raises: ClusterUnavailable."""
        return await self._looks.present()

    async def asked_of(self, name: str, node: Node, verb: str, asked: Asked, calling: Calling) -> Answer:
        """The answer of one node to what is no session's. Raises: NodeLost."""
        return Answer(await self._looks.answer(name, node, node.call(verb, asked.text(), calling.text())))

    async def driven_by(self, name: str, node: Node) -> int:
        """How many sessions a node drives just now. Raises: NodeLost."""
        return Load.of(await self._looks.answer(name, node, node.load())).sessions

    async def close(self) -> None:
        """Ask no node any more. Nothing is lost by that."""
        await self._looks.close()

    # --- opening ----------------------------------------------------------------------------------

    async def _opened(self, verb: str, asked: Asked, caller: str) -> Answer:
        """Opened at the node with the most room. What a lost node may have opened nobody has the handle of."""
        refused = set[str]()
        text = asked.text()
        while True:
            nodes, name = await self._chosen(refused, asked.manifest)
            try:
                with self._placement.placing(name):
                    return await self._taken(name, nodes[name], verb, text, caller)
            except NOT_TAKEN as error:
                log.info("%s opened no session: %s", name, error.message)
                refused.add(name)

    async def _chosen(self, refused: Collection[str], context: str | None = None) -> tuple[Mapping[str, Node], str]:
        """The nodes, and the one for a session. Raises: SessionBusy: none has room, each having been asked just now."""
        nodes = await self._looks.fresh()
        with suppress(SessionBusy):
            return nodes, self._placement.choose(nodes, refused, context)
        nodes = await self._looks.fresh(anew=True)
        return nodes, self._placement.choose(nodes, refused, context)

    async def _anywhere(self, verb: str, asked: Asked, caller: str) -> Answer:
        for name, node in (await self._looks.present()).items():
            try:
                return Answer(await self._looks.answer(name, node, node.call(verb, asked.text(), caller)))
            except NodeLost:
                continue
        raise SessionBusy("No node of the cluster answers.", "Call again later, or tell the user to look at the nodes.")

    # --- a session's calls ------------------------------------------------------------------------

    async def _of_session(self, session_id: str, verb: str, asked: Asked, caller: str) -> Answer:
        for _ in range(TRIES):
            name, node = await self._node_of(session_id)
            if node is None or (verb in STEPS and not await self._is_there(name, node)):
                self._forget(session_id)
                continue
            try:
                return await self._taken(name, node, verb, asked.text(), caller)
            except NodeLost as error:
                log.warning(
                    "%s of session %s was under way at a node that is lost: %s", verb, session_id, error.message
                )
                self._forget(session_id)
                if verb in STEPS:
                    asked = replace(asked, is_lost=True)
                continue
            except SessionMoved:
                pass
            await self._follow(session_id, name)
        raise SessionMoved(f"Session {session_id} has moved {TRIES} times while this call looked for it.")

    async def _taken(self, name: str, node: Node, verb: str, text: str, caller: str) -> Answer:
        """The answer of a node that has taken a call. Raises: NodeLost, SessionMoved, NoRoom: it has not."""
        answer = Answer(await self._looks.answer(name, node, node.call(verb, text, caller)))
        if answer.text.startswith(_ERROR):
            try:
                answer.value()
            except NOT_TAKEN:
                raise
            except RlmError:
                pass  # it is the client's answer
        return answer

    async def _is_there(self, name: str, node: Node) -> bool:
        """Whether a node is there, so far as that can be known before a call is sent to it."""
        try:
            await self._looks.require(name, node)
        except NodeLost:
            return False
        return True

    async def _node_of(self, session_id: str) -> tuple[str, Node | None]:
        """The node that has a session, which is moved where that is lost; None: it is lost too. Raises: as `call`."""
        claim = self._known.get(session_id) or await self._newest(session_id)
        nodes = await self._looks.present()
        if claim.node not in nodes:
            claim = await self._moved(session_id, claim)
            nodes = await self._looks.present()
        return claim.node, nodes.get(claim.node)

    async def _newest(self, session_id: str) -> Claim:
        claim = await self._store.newest(session_id)
        if claim is None:
            self._known.pop(session_id, None)
            raise SessionNotFound(f"There is no session {session_id} in this cluster.")
        self._remember(claim)
        return claim

    def _remember(self, claim: Claim) -> None:
        if len(self._known) >= KNOWN_MAX:
            self._known.pop(next(iter(self._known)))
        self._known[claim.session_id] = claim

    def _forget(self, session_id: str) -> None:
        self._known.pop(session_id, None)

    async def _follow(self, session_id: str, name: str) -> None:
        """A node says that it does not have the session: go where it is; where that is the same node, have it adopt."""
        before = self._known.pop(session_id, None)
        claim = await self._newest(session_id)
        if claim.node == name and (before is None or before.epoch == claim.epoch):
            await self._moved(session_id, claim, to=name)

    # --- moving -----------------------------------------------------------------------------------

    async def _moved(self, session_id: str, since: Claim, to: str | None = None) -> Claim:
        """Have a session adopted by a node, once; of several routers that do, one wins, and the others follow it.

        `to`: the node that has it by its claim, and has begun anew.
        """
        lock = self._turns.setdefault(session_id, asyncio.Lock())
        refused = set[str]()
        async with lock:
            for _ in range(TRIES):
                claim = await self._newest(session_id)
                nodes = await self._looks.fresh()
                if claim.epoch > since.epoch and claim.node in nodes:
                    return claim
                if to is not None and to in nodes and to not in refused and self._placement.takes(to):
                    name = to
                else:
                    nodes, name = await self._chosen(refused)
                try:
                    with self._placement.placing(name):
                        adopting = nodes[name].adopt(session_id, claim.epoch + 1)
                        await self._looks.answer(name, nodes[name], adopting)
                except SessionMoved:  # another router was as fast: the newest claim says where
                    since = claim
                except (NodeLost, NoRoom) as error:
                    log.info("%s did not take session %s: %s", name, session_id, error.message)
                    refused.add(name)
                else:
                    log.warning("session %s has moved from %s to %s", session_id, claim.node, name)
                    self._remember(found := Claim(session_id, claim.epoch + 1, name))
                    return found

        raise SessionMoved(f"Session {session_id} has been taken over {TRIES} times while it was to be moved.")
