"""`rlm-kernel-mcp cluster up`: nodes on a Ray that runs already, or a cluster of this machine to try.

Is: Ray begun on loopback with a token, a node on each of its machines, and the wait for the end. Is not: Ray
(`cluster/ray_actors.py`), which is imported here alone of the commands. Above: `cli.py`. Below: `cluster/`, `looks.py`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from rlm_kernel_mcp.cluster.asked import STATE_DIR, STORE, Facts
from rlm_kernel_mcp.cluster.joining import Joined, require_ray
from rlm_kernel_mcp.cluster.place import (
    BESIDE,
    LOOPBACK,
    ClusterPlace,
    forget,
    found_place,
    leave,
    made_token,
    tell_ray,
)
from rlm_kernel_mcp.cluster.shared.protocol import Claim
from rlm_kernel_mcp.commands.clustering.looks import NodeLook, begun, looked_at, table, told
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.text.wording import counted
from rlm_kernel_mcp.units import MB
from rlm_kernel_mcp.variables.cluster import load_cluster_settings

if TYPE_CHECKING:
    from rlm_kernel_mcp.cluster.ray_actors import LocalCluster

PART_OF_THE_FREE: Final = 0.6
"""Of the memory that is free, for the nodes of this machine together."""


class Wanted(NamedTuple):
    """The options."""

    address: str | None = None
    store: str | None = None
    nodes: int = 3
    memory_mb: int | None = None
    object_store_mb: int = 80


def up(settings: Settings, environ: Mapping[str, str], wanted: Wanted, *, as_json: bool) -> int:
    """Begin it; on this machine it lasts until Ctrl-C.

    Raises:
        InvalidInput: no extra [ray], no such cluster, no store. ClusterUnavailable: it does not answer.
    """
    require_ray()
    if wanted.address is not None:
        place = found_place(wanted.address, environ, settings.state_dir)
        return _on_ray(place, environ, wanted.store, as_json=as_json)
    kept = wanted.store or environ.get(STORE) or str(settings.state_dir / BESIDE / "store")
    require_store(environ, kept)
    facts = Facts.of_environ({**environ, STATE_DIR: str(settings.state_dir)}, kept, is_one_machine=True)
    each_mb = wanted.memory_mb or int(free_mb() * PART_OF_THE_FREE / wanted.nodes)
    with ended_by_signals() as end, here(settings.state_dir, wanted.nodes, each_mb, wanted.object_store_mb) as local:
        _begun(local.place, facts, as_json=as_json)
        end()  # once more: Ray has put a handler of its own in its place
        if not as_json:
            print(
                'Sessions of it: Session(cluster="auto") in a program, `rlm-kernel-mcp serve --cluster auto` for an '
                f"agent.\nCtrl-C ends it; sessions stay in {kept}.",
                flush=True,
            )
        leave(settings.state_dir, local.place)
        try:
            signal.pause()
        finally:
            forget(settings.state_dir, local.place)
    return 0


def require_store(environ: Mapping[str, str], store: str) -> None:
    """Raises: InvalidInput: a setting of nodes is wrong, or there is no store: nodes would say so one by one."""
    load_cluster_settings({**environ, STORE: store})


def _on_ray(place: ClusterPlace, environ: Mapping[str, str], store: str | None, *, as_json: bool) -> int:
    kept = store or environ.get(STORE, "")
    require_store(environ, kept)
    return _begun(place, Facts.of_environ(environ, kept, is_one_machine=False), as_json=as_json)


def _begun(place: ClusterPlace, facts: Facts, *, as_json: bool) -> int:
    """Put nodes there, and say how they are; 1 where one does not answer."""
    cluster, looks, claims = put(place, facts)
    if as_json:
        print(json.dumps(told(cluster, looks, claims)), flush=True)
    else:
        table(looks)
        print(f"\n{cluster.name}: {counted(len(looks), 'node')}", flush=True)
    return 0 if looks and all(look.load is not None for look in looks) else 1


def put(place: ClusterPlace, facts: Facts) -> tuple[Joined, list[NodeLook], list[Claim]]:
    """Have a node on each machine of a Ray that runs. Returns: the cluster, and how its nodes are once they have begun.

    Raises: InvalidInput, ClusterUnavailable.
    """
    tell_ray(place)
    from rlm_kernel_mcp.cluster.ray_actors import RayNodes, connect

    connect(place)
    cluster = Joined(place, RayNodes.begin(facts), facts.store)
    return cluster, *asyncio.run(_once_begun(cluster))


async def _once_begun(cluster: Joined) -> tuple[list[NodeLook], list[Claim]]:
    await begun(cluster)
    return await looked_at(cluster)


@contextmanager
def here(state_dir: Path, nodes: int, memory_mb: int, object_store_mb: int) -> Iterator[LocalCluster]:
    """Ray on this machine, with that many nodes, `node-1` and so on."""
    # Short: a socket's path has 107 bytes at most. Of this user alone: whoever gets to the sockets needs no token.
    directory = tempfile.mkdtemp(prefix="rlm-ray-", dir="/tmp")
    try:
        token = made_token(state_dir)
        tell_ray(ClusterPlace(f"{LOOPBACK[0]}:0", token), RAY_TMPDIR=directory)
        from rlm_kernel_mcp.cluster.ray_actors import LocalCluster

        local = LocalCluster(token, object_store_mb)
        try:
            for number in range(1, nodes + 1):
                print(f"Ray begins on this machine: node {number} of {nodes}", file=sys.stderr, flush=True)
                local.add(f"node-{number}", memory_mb)
            yield local
        finally:
            local.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def ended_by_signals() -> Iterator[Callable[[], object]]:
    """SIGTERM ends it as Ctrl-C does. Gives what sees to that anew."""
    end = partial(signal.signal, signal.SIGTERM, signal.default_int_handler)
    before = end()
    try:
        yield end
    finally:
        signal.signal(signal.SIGTERM, before)


def free_mb() -> int:
    """Memory of this machine that is free, in MB. Raises: InvalidInput: it does not say."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 // MB
    raise InvalidInput("This machine does not say how much memory is free.", "Give --memory-mb.")
