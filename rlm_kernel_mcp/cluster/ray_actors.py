"""The nodes of a cluster as actors of Ray: one on each of its machines, by name, detached, and asked in bytes alone.

Is: the only module that imports Ray: the connection, which nodes there are, an actor on each, a call to one with its
bound, and a cluster on this machine to try. Is not: what a node does (`node/`), where a session goes (`router/`), or
what crosses (`asked.py`). Above: `joining.py`, commands. Below: `asked.py`, `place.py`, `node/`.

Ray restarts an actor whose process has ended; it never runs a call twice (`max_task_retries=0`). The actor of a machine
that is gone goes with it; one that comes gets one from whichever router sees it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import ray
from ray._private import worker
from ray.exceptions import AuthenticationError, RayError, RayTaskError
from ray.experimental import internal_kv
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rlm_kernel_mcp.cluster.asked import MEMORY, NODE, Facts, asked, asking, failed, gave, given, only_bytes
from rlm_kernel_mcp.cluster.machines import NAMED, OURS, name_of, of_sessions
from rlm_kernel_mcp.cluster.place import LOOPBACK, ClusterPlace, refuses_strangers
from rlm_kernel_mcp.errors import ClusterUnavailable, InternalError, InvalidInput, NodeLost, RlmError
from rlm_kernel_mcp.units import MB

if TYPE_CHECKING:
    from rlm_kernel_mcp.cluster.node.host import NodeHost

log = logging.getLogger(__name__)
NAMESPACE: Final = "rlm-kernel-mcp"
FACTS: Final = b"facts"
AT_ONCE: Final = 10_000
"""Calls in a node at once, waits included; what it runs at once is its own matter."""
CALL_S: Final = 86_400.0
"""A step may wait for people; a router looks after a node that says nothing (`load`)."""
LOAD_S: Final = 10.0
MOVE_S: Final = 300.0
DRAIN_S: Final = 60.0
BEGIN_S: Final = 90.0
PAUSE_S: Final = 1.0
"""Between two looks at which machines there are."""
_connecting: Final = threading.Lock()
_connected: Final[list[ClusterPlace]] = []


class NodeActor:
    """A node, in a process that Ray has started on its machine."""

    def __init__(self, facts: bytes, name: bytes, memory_mb: bytes) -> None:
        self._facts = Facts.of_bytes(only_bytes(facts))
        self._name, self._memory_mb = only_bytes(name).decode(), only_bytes(memory_mb).decode()
        self._opening: asyncio.Task[NodeHost] | None = None

    async def ask(self, said: bytes) -> bytes:
        """Do one call. It raises nothing: an exception would cross as a pickle."""
        try:
            return gave(await self._done(*asked(said)))
        except RlmError as error:
            return failed(error)
        except Exception:
            log.exception("a call of a node failed")
            return failed(InternalError("A call failed in a node; its log on that machine has the details."))

    async def _done(self, verb: str, texts: list[str]) -> str:
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(self._opened())
        host = await asyncio.shield(self._opening)  # a call that is cancelled leaves it to the others
        if verb == "call":
            return await host.call(*texts)
        if verb == "load":
            return await host.load()
        if verb == "adopt":
            await host.adopt(texts[0], int(texts[1]))
        elif verb == "release":
            await host.release(texts[0])
        elif verb == "drain":
            await host.drain()
        else:
            raise InvalidInput(f"A node has no call {verb[:80]!r}.")
        return ""

    async def _opened(self) -> NodeHost:
        host = await asyncio.to_thread(self._made)
        await host.open()
        return host

    def _made(self) -> NodeHost:
        """In a thread: the imports take long on a busy machine, and others ask meanwhile."""
        from rlm_kernel_mcp.cluster.node.host import NodeHost
        from rlm_kernel_mcp.cluster.shared.opening import open_store
        from rlm_kernel_mcp.settings import load_settings
        from rlm_kernel_mcp.variables.cluster import load_cluster_settings

        environ = {MEMORY: self._memory_mb, **os.environ, **self._facts.environ, NODE: self._name}
        cluster = load_cluster_settings(environ)
        return NodeHost(load_settings(os.getcwd(), environ), cluster, open_store(cluster.store))  # noqa: PTH109


class RayNode:
    """A node as a router has it."""

    def __init__(self, name: str, actor: Any) -> None:
        self.name, self._actor = name, actor

    async def call(self, verb: str, arguments: str, caller: str) -> str:
        return await self._ask(CALL_S, "call", verb, arguments, caller)

    async def adopt(self, session_id: str, epoch: int) -> None:
        await self._ask(MOVE_S, "adopt", session_id, str(epoch))

    async def release(self, session_id: str) -> None:
        await self._ask(MOVE_S, "release", session_id)

    async def load(self) -> str:
        return await self._ask(LOAD_S, "load")

    async def drain(self) -> None:
        await self._ask(DRAIN_S, "drain")

    async def begun(self) -> None:
        """It has begun, which takes seconds."""
        await self._ask(BEGIN_S, "load")

    async def _ask(self, within_s: float, *texts: str) -> str:
        """Raises: NodeLost: no answer came; and what the node's call raised."""
        reference = None
        try:
            reference = self._actor.ask.remote(only_bytes(asking(*texts)))
            async with asyncio.timeout(within_s):
                said = await reference
        except (asyncio.CancelledError, TimeoutError) as error:
            if reference is not None:
                with contextlib.suppress(RayError):
                    ray.cancel(reference)
            if isinstance(error, TimeoutError):
                raise NodeLost(f"The node {self.name} did not answer within {within_s:.0f} s.") from error
            raise
        except RayTaskError as error:
            raise InternalError(f"A call of the node {self.name} failed; its log has the details.") from error
        except RayError as error:
            raise NodeLost(f"The node {self.name} is lost: {type(error).__name__}.") from error
        return given(said)


class RayNodes:
    """The nodes of the cluster to which this process is connected."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._known: dict[str, RayNode] = {}
        """By Ray's number of the machine."""
        self._present: dict[str, RayNode] = {}
        self._looked_s = -PAUSE_S
        self._looking = asyncio.Lock()

    @classmethod
    def of_cluster(cls) -> RayNodes:
        """Raises: ClusterUnavailable: nobody has put our nodes there."""
        said = internal_kv._internal_kv_get(FACTS, namespace=NAMESPACE.encode())
        if said is None:
            raise ClusterUnavailable(
                "This cluster of Ray has no nodes of rlm-kernel-mcp.",
                "Put them there: rlm-kernel-mcp cluster up --address HOST:PORT --store PLACE.",
            )
        return cls(Facts.of_bytes(said))

    @classmethod
    def begin(cls, facts: Facts) -> RayNodes:
        """Have nodes there with these settings; nodes that are there already keep theirs until they end."""
        internal_kv._internal_kv_put(FACTS, facts.as_bytes(), overwrite=True, namespace=NAMESPACE.encode())
        return cls(facts)

    async def present(self) -> Mapping[str, RayNode]:
        """Those that Ray knows to be there, by name, at most a second old. Raises: ClusterUnavailable."""
        async with self._looking:
            if time.monotonic() - self._looked_s >= PAUSE_S:
                try:
                    self._present = await asyncio.wait_for(asyncio.to_thread(self._look), LOAD_S)
                except (RayError, TimeoutError, ConnectionError, RuntimeError) as error:
                    raise ClusterUnavailable(
                        f"Ray does not say which nodes there are: {type(error).__name__}."
                    ) from error
                self._looked_s = time.monotonic()
        return self._present

    async def close(self) -> None:
        """Nothing of it is left to others."""
        self._known.clear()

    def _look(self) -> dict[str, RayNode]:
        there = {row["NodeID"]: row for row in of_sessions(ray.nodes())}
        self._known = {number: node for number, node in self._known.items() if number in there}
        for number, row in there.items():
            if number not in self._known:
                self._known[number] = RayNode(name_of(row), self._actor(number, row))
        return {node.name: node for node in self._known.values()}

    def _actor(self, number: str, row: Mapping[str, Any]) -> Any:
        """The actor of a machine, which is made where there is none."""
        memory = int(row["Resources"].get("memory", 0))
        made: Any = ray.remote(NodeActor)
        return made.options(
            name=f"node-{number}",
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=AT_ONCE,
            num_cpus=0,
            memory=memory,
            scheduling_strategy=NodeAffinitySchedulingStrategy(number, soft=False),
        ).remote(self.facts.as_bytes(), name_of(row).encode(), str(memory // MB).encode())


def connect(place: ClusterPlace) -> None:
    """Connect this process, once. `tell_ray` comes before the import of this module.

    Raises:
        InvalidInput: it is connected to another one, or the token is missing or another one's.
        ClusterUnavailable: nobody answers there.
    """
    with _connecting:
        if _connected:
            if _connected[0].address != place.address:
                raise InvalidInput(
                    f"This process is a part of the cluster at {_connected[0].address} already, and of one alone."
                )
            return
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            ray._raylet.GcsClient(address=place.address)
            ray.init(place.address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
        except AuthenticationError as error:
            raise InvalidInput(
                f"The cluster at {place.address} does not take this token, or there is none.",
                "Set RAY_AUTH_TOKEN_PATH to the file that holds the cluster's own.",
            ) from error
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterUnavailable(f"No cluster answers at {place.address}: {str(error)[:200]}") from error
        # Ray prints what its machines say, the log of a lost one too, and a program's stdout is its own.
        worker.print_to_stdstream = lambda said, **_: log.info("Ray says: %.2000s", said.get("lines"))
        try:
            _require_token(place)
        except BaseException:
            ray.shutdown()
            raise
        _connected.append(place)


def disconnect() -> None:
    """Leave the cluster to which this process is connected, if it is."""
    with _connecting:
        ray.shutdown()
        _connected.clear()


def _require_token(place: ClusterPlace) -> None:
    """Raises: InvalidInput: the cluster takes anybody, and others than this machine get to it."""
    addresses = {str(row["NodeManagerAddress"]) for row in ray.nodes() if row["Alive"]}
    if not addresses <= {*LOOPBACK} and not refuses_strangers(place, os.environ):
        raise InvalidInput(
            f"The cluster at {place.address} asks for no token: whoever reaches it can run code on its machines.",
            "Begin Ray with RAY_AUTH_MODE=token and a token on each machine (docs/cluster.md).",
        )


class LocalCluster:
    """A head and nodes of Ray's on this machine, on loopback; all of them end with this process."""

    def __init__(self, token_path: str, object_store_mb: int) -> None:
        """Begin the head; `tell_ray` has said where its sockets and logs are to lie."""
        from ray.cluster_utils import Cluster

        self._each = {"node_ip_address": LOOPBACK[0], "object_store_memory": object_store_mb * MB, "num_cpus": 0}
        self._cluster = Cluster(initialize_head=True, head_node_args={**self._each, "include_dashboard": False})
        self.nodes = dict[str, Any]()
        self.place = ClusterPlace(self._cluster.address, token_path)

    def add(self, name: str, memory_mb: int) -> None:
        """One more node. It is there when this returns."""
        more = {"memory": memory_mb * MB, "resources": {OURS: 1}, "labels": {NAMED: name}}
        self.nodes[name] = self._cluster.add_node(**self._each, **more)

    def processes(self, name: str) -> list[int]:
        """The processes of Ray's own that a node is made of, without its actor."""
        return [one.process.pid for each in self.nodes[name].all_processes.values() for one in each]

    def close(self) -> None:
        """End all of it."""
        disconnect()
        self._cluster.shutdown()
