"""What is said of a cluster that does not let a process in, in time or at all."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlm_kernel_mcp.cluster import joining
from rlm_kernel_mcp.errors import ClusterUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In place of Ray: a cluster that says nothing."""
    over = threading.Event()
    stand_in = SimpleNamespace(connect=lambda _place: over.wait(60), RayNodes=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "rlm_kernel_mcp.cluster.ray_actors", stand_in)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: stand_in)
    monkeypatch.setattr(joining, "WITHIN_S", 0.05)
    monkeypatch.setattr(joining, "tell_ray", lambda _place: None)
    yield
    over.set()


@pytest.mark.usefixtures("silent")
async def test_a_cluster_that_says_nothing_is_told_with_its_address_and_the_time(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnavailable, match=r"127\.0\.0\.1:1 did not answer within 0\.05 s"):
        await joining.joined("127.0.0.1:1", {}, tmp_path)
