"""The way into a cluster for whatever has to do with sessions: programs, agents, commands.

Is: joining, the store that its nodes have, and a router of this process. Is not: Ray, nor a call (`router/`). Above:
programs and servers, which import it by its name when they are to be in a cluster. Below: `joining.py`,
`router/door.py`, `router/routed.py`, `shared/opening.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlm_kernel_mcp.cluster.joining import joined, require_ray
from rlm_kernel_mcp.cluster.router.door import ClusterDoor
from rlm_kernel_mcp.cluster.router.routed import Routed
from rlm_kernel_mcp.cluster.router.way import Way
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.settings import Settings


async def way_into(where: str, environ: Mapping[str, str], state_dir: Path) -> Way:
    """A way into a cluster. `where`: `auto`, or its address.

    Raises:
        InvalidInput: there is no such cluster, or no [ray]. ClusterUnavailable, StoreUnavailable.
    """
    found = await joined(where, environ, state_dir)
    return Way.of(found.nodes, open_store(found.store), found.close)


async def routed(settings: Settings) -> Routed:
    """What the server of one client of these settings has in place of a registry. Raises: as `way_into`."""
    # RAY_ADDRESS is not among what a host hears of its clients: `auto` is what `cluster up` has left there.
    return Routed(await way_into(settings.cluster, {}, settings.state_dir))


def door(where: str, env: Mapping[str, str] | None) -> ClusterDoor:
    """That of a program. Raises: InvalidInput: the extra is not installed."""
    require_ray()

    async def open_way(program: Program) -> Way:
        return await way_into(where, program.environ, program.settings.state_dir)

    return ClusterDoor(env, open_way)
