"""Looks after the nodes of a cluster: who is there, how full they are, and whether one that says nothing is lost.

Is: each wait for a node, with its bound, and what is known of them meanwhile. Is not: where anything goes
(`placement.py`, `router.py`). Above: `router.py`. Below: `placement.py`, `protocol.py`.

A step may take a day, so the wait for an answer has no bound of its own: while it lasts the node is asked for its load,
which it answers at once. One that does not is taken for lost. To be wrong there costs a restore: what it acknowledges
after that is nothing, since somebody else has a newer epoch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from rlm_kernel_mcp.cluster.node.messages import Load
from rlm_kernel_mcp.cluster.router.placement import Placement
from rlm_kernel_mcp.cluster.router.protocol import Node, Nodes
from rlm_kernel_mcp.errors import ClusterUnavailable, NodeLost, RlmError

T = TypeVar("T")

log = logging.getLogger(__name__)
PRESENT_S: Final = 10.0


class Bounds(NamedTuple):
    """Seconds."""

    fresh_s: float = 1.0
    """A node that has said something since then is there, and as full as it said."""
    pulse_s: float = 2.0
    """Between two looks while an answer is waited for."""
    load_s: float = 10.0
    """A node that has not said how full it is by then is lost."""
    place_s: float = 1.0
    """So long a new session waits for what nodes say; one that does not by then is placed by what it said before."""


BOUNDS: Final = Bounds()


class Looks:
    """What one router knows of the nodes. Belongs to the event loop."""

    def __init__(self, nodes: Nodes, placement: Placement, bounds: Bounds = BOUNDS) -> None:
        self._nodes, self._placement, self._bounds = nodes, placement, bounds
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._heard_s: dict[str, float] = {}
        """When each node answered anything last, and when it said how full it is."""
        self._told_s: dict[str, float] = {}
        self._lost = set[str]()
        """Those that did not answer, until they say again how full they are."""

    async def present(self) -> Mapping[str, Node]:
        """The nodes that there are, and that are not lost. Raises: ClusterUnavailable."""
        found = await self._found()
        for name in self._lost & found.keys():  # it may be there again, or another one by its name
            self._ask(name, found[name])
        return {name: node for name, node in found.items() if name not in self._lost}

    async def fresh(self, *, anew: bool = False) -> Mapping[str, Node]:
        """The same, each as full as it said just now, or last. `anew`: ask all of them. Raises: ClusterUnavailable."""
        found = await self._found()
        asked = {
            self._ask(name, node) for name, node in found.items() if anew or not self._is_fresh(self._told_s.get(name))
        }
        if asked:
            await asyncio.wait(asked, timeout=self._bounds.place_s)
        return {name: node for name, node in found.items() if name not in self._lost}

    async def require(self, name: str, node: Node) -> None:
        """Raise NodeLost unless the node is there. It costs nothing where it has just said something."""
        if name in self._lost or not self._is_fresh(self._heard_s.get(name)):
            await asyncio.wait({self._ask(name, node)})
        if name in self._lost:
            raise self._silent(name)

    def lost(self, name: str) -> None:
        """It did not answer."""
        self._lost.add(name)
        for known in (self._heard_s, self._told_s):
            known.pop(name, None)
        self._placement.forget(name)

    async def answer(self, name: str, node: Node, work: Coroutine[Any, Any, T]) -> T:
        """The answer of a node, however long it takes. Where this wait is cancelled, so is the call.

        Raises:
            NodeLost: it is not there any more, or does not say how full it is; and what `work` raises.
        """
        call = asyncio.ensure_future(work)
        call.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait for it by then
        try:
            while not call.done():
                await asyncio.wait({call}, timeout=self._bounds.pulse_s)
                if not call.done() and not self._is_fresh(self._heard_s.get(name)):
                    await asyncio.wait({call, self._ask(name, node)}, return_when=asyncio.FIRST_COMPLETED)
                if not call.done() and name in self._lost:
                    raise self._silent(name)
            answer = call.result()
        except NodeLost:
            self.lost(name)
            raise
        finally:
            call.cancel()
        self._heard_s[name] = time.monotonic()
        return answer

    async def close(self) -> None:
        """Ask nobody any more."""
        for task in (asking := list(self._asking.values())):
            task.cancel()
        if asking:
            await asyncio.wait(asking)

    async def _found(self) -> Mapping[str, Node]:
        try:
            async with asyncio.timeout(PRESENT_S):
                return await self._nodes.present()
        except TimeoutError:
            raise ClusterUnavailable(f"The cluster did not say within {PRESENT_S:g} s which nodes there are.") from None

    def _ask(self, name: str, node: Node) -> asyncio.Task[None]:
        """Ask a node how full it is, once at a time."""
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._told(name, node), name=f"load of {name}")
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        return task

    async def _told(self, name: str, node: Node) -> None:
        mark = self._placement.mark(name)
        try:
            async with asyncio.timeout(self._bounds.load_s):
                load = Load.of(await node.load())
        except (NodeLost, TimeoutError):
            self.lost(name)
        except (ValueError, TypeError, RlmError) as error:  # it is there, and of no use
            log.warning("the node %s does not say how full it is: %s", name, error)
            self.lost(name)
        else:
            self._lost.discard(name)
            self._heard_s[name] = self._told_s[name] = time.monotonic()
            self._placement.told(name, load, mark)

    def _silent(self, name: str) -> NodeLost:
        return NodeLost(f"The node {name} did not say how full it is within {self._bounds.load_s:g} s.")

    def _is_fresh(self, at_s: float | None) -> bool:
        return at_s is not None and time.monotonic() - at_s < self._bounds.fresh_s
