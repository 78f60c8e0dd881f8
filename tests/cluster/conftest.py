"""Clusters for tests: three nodes on Ray, of which each test finds at least three open; or two in its own process."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rlm_kernel_mcp.cluster.node.host import NodeHost
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.variables.cluster import load_cluster_settings
from tests.cluster.keeper import Keeper, kept
from tests.cluster.plain import Lossy, PlainCluster
from tests.parts import require_ray


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Keeper]:
    """Three nodes, for all tests."""
    require_ray()
    with tempfile.TemporaryDirectory(prefix="rlm-", dir="/tmp") as directory, kept(Path(directory)) as keeper:
        yield keeper


@pytest.fixture
def keeper(ray_cluster: Keeper) -> Iterator[Keeper]:
    """The same, with nobody stopped at a test's end."""
    yield ray_cluster
    ray_cluster.go_on()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[PlainCluster]:
    """Two nodes in this process, over a folder, without Ray."""
    (tmp_path / "shared").mkdir()
    where = tmp_path / "shared" / "store"
    async with AsyncExitStack() as ends:
        nodes = dict[str, Lossy]()
        for name in ("n0", "n1"):
            environ = {"HOME": str(tmp_path), "RLM_STATE_DIR": str(tmp_path / name), "RLM_MEMORY_LIMIT_MB": "256"}
            environ |= {"RLM_CLUSTER_NODE": name, "RLM_CLUSTER_STORE": str(where)}
            store = open_store(str(where))
            ends.push_async_callback(store.close)
            host = NodeHost(load_settings(tmp_path, environ), load_cluster_settings(environ), store)
            await host.open()
            ends.push_async_callback(host.close)
            nodes[name] = Lossy(host)
        yield PlainCluster(nodes, where)
