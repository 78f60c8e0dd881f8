"""A cluster of three nodes for a module's tests; each test finds at least three that are open."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.keeper import Keeper, kept
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
