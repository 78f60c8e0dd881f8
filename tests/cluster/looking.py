"""What tests of a cluster look at beside its sessions: its nodes, and which of them drives a session.

Is: a router's knowledge, asked by a way of the tests' own. Is not: a test.
"""

from __future__ import annotations

from rlm_kernel_mcp.cluster.joining import joined
from rlm_kernel_mcp.cluster.node.messages import Load
from rlm_kernel_mcp.cluster.shared.opening import open_store
from tests.cluster.keeper import Keeper


async def loads(keeper: Keeper) -> dict[str, Load]:
    """The nodes that answer, by name."""
    cluster = await joined("auto", keeper.env, keeper.state_dir)
    present = await cluster.nodes.present()
    return {name: Load.of(await node.load()) for name, node in present.items()}


async def node_of(keeper: Keeper, session_id: str) -> Load:
    """The node that drives a session."""
    cluster = await joined("auto", keeper.env, keeper.state_dir)
    store = open_store(cluster.store)
    claim = await store.newest(session_id)
    await store.close()
    assert claim is not None
    nodes = await cluster.nodes.present()
    return Load.of(await nodes[claim.node].load())
