"""A process becomes a part of a cluster: the one way in for routers, commands and programs.

Is: which cluster it is, whether Ray is installed, one connection a process. Is not: Ray (`ray_actors.py`), which is
imported here at the first use. Above: commands, `entrance.py`. Below: `place.py`, `ray_actors.py`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.cluster.place import ClusterPlace, found_place, tell_ray
from rlm_kernel_mcp.errors import ClusterUnavailable, InvalidInput

if TYPE_CHECKING:
    from rlm_kernel_mcp.cluster.ray_actors import RayNodes

WITHIN_S: Final = 60.0
"""To find the cluster and be let in; Ray alone takes two seconds."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A cluster, as one of its routers has it."""

    place: ClusterPlace
    nodes: RayNodes
    store: str
    """Where its nodes keep their sessions, for `open_store`."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"Ray at {self.place.address}"

    async def close(self) -> None:
        """Leave it; the connection of the process stays, since others of the process may have it."""
        await self.nodes.close()


def require_ray() -> None:
    """Raises: InvalidInput: the extra [ray] is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise InvalidInput(
            "Sessions in a cluster need Ray, which is not installed where this runs.",
            "Install the extra: pip install 'WHEEL[ray]', WHEEL being the path of the built wheel (in a checkout: "
            f"bin/setup --with ray), for {sys.executable}.",
        )


async def joined(where: str, environ: Mapping[str, str], state_dir: Path) -> Joined:
    """Become a part of a cluster. `where`: `auto`, or the address of Ray's head. A second time gives the same.

    Raises:
        InvalidInput: there is no such cluster, no [ray], no token, or another cluster was joined before.
        ClusterUnavailable: it does not answer, or has none of our nodes.
    """
    require_ray()
    place = found_place(where, environ, state_dir)
    tell_ray(place)
    from rlm_kernel_mcp.cluster.ray_actors import RayNodes, connect

    try:
        await asyncio.wait_for(asyncio.to_thread(connect, place), WITHIN_S)
        nodes = await asyncio.wait_for(asyncio.to_thread(RayNodes.of_cluster), WITHIN_S)
    except TimeoutError:
        raise ClusterUnavailable(f"The cluster at {place.address} did not answer within {WITHIN_S:g} s.") from None
    return Joined(place, nodes, nodes.facts.store)
