"""`rlm-kernel-mcp cluster status` and `cluster drain`.

Is: one look at a cluster, and one node told to empty itself. Is not: what is shown (`looks.py`). Above: `cli.py`.
Below: `cluster/`, `looks.py`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping

from rlm_kernel_mcp.cluster.joining import joined
from rlm_kernel_mcp.cluster.node.messages import Load
from rlm_kernel_mcp.commands.clustering.looks import looked_at, table, told
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.text.safe_text import safe_text


def status(settings: Settings, environ: Mapping[str, str], address: str, *, as_json: bool) -> int:
    """Print how the nodes are; 1 where one does not answer, or there is none.

    Raises:
        InvalidInput: there is no cluster. ClusterUnavailable, StoreUnavailable: it does not answer.
    """
    return asyncio.run(_status(settings, environ, address, as_json=as_json))


async def _status(settings: Settings, environ: Mapping[str, str], address: str, *, as_json: bool) -> int:
    cluster = await joined(address, environ, settings.state_dir)
    try:
        looks, claims = await looked_at(cluster)
    finally:
        await shielded(cluster.close(), "the end of a look at a cluster")
    if as_json:
        print(json.dumps(told(cluster, looks, claims)))
    elif looks:
        table(looks)
        print(f"\n{cluster.name}: {len(looks)} nodes, {len(claims)} sessions in the shared store")
    else:
        print(f"{cluster.name} has no node for sessions just now", file=sys.stderr)
    return 0 if looks and all(look.load is not None for look in looks) else 1


def drain(settings: Settings, environ: Mapping[str, str], node: str, address: str, *, as_json: bool) -> int:
    """Have a node let its sessions go; 1 where some of them are still there.

    Raises:
        InvalidInput: there is no such node. NodeLost: it does not answer.
    """
    return asyncio.run(_drain(settings, environ, node, address, as_json=as_json))


async def _drain(settings: Settings, environ: Mapping[str, str], name: str, address: str, *, as_json: bool) -> int:
    cluster = await joined(address, environ, settings.state_dir)
    try:
        nodes = await cluster.nodes.present()
        if (node := nodes.get(name)) is None:
            raise InvalidInput(
                f"There is no node {name[:80]!r}; there are: {', '.join(sorted(nodes)) or 'none'}.",
                "Give the name of one of them.",
            )
        await node.drain()
        looks, claims = await looked_at(cluster)
    finally:
        await shielded(cluster.close(), "the end of a look at a cluster")
    load = next((look.load for look in looks if look.name == name), None)
    left = 0 if load is None else load.sessions
    if as_json:
        print(json.dumps(told(cluster, looks, claims) | {"drained": name, "sessions_left": left}))
    else:
        print("\n".join(drained(name, load)))
    return 1 if left else 0


def drained(name: str, load: Load | None) -> list[str]:
    """What a person is told of a node that was told to empty itself."""
    if load is None or not load.sessions:
        return [f"{name} takes no more sessions, and has none; its machine may be stopped."]
    left, staying = load.sessions, load.staying
    has = "1 is still there, and goes" if left == 1 else f"{left:,} are still there, and go"
    lines = [f"{name} takes no more sessions; {has} as soon as what keeps {'it' if left == 1 else 'them'} ends:"]
    lines += [f"  {safe_text(session_id)}: {safe_text(why)}" for session_id, why in staying.items()]
    return [*lines, f"  and {left - len(staying):,} more"] if left > len(staying) else lines
