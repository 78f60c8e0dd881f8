"""Servers for a module's tests: one whose sessions may import everything, and one in each import policy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.escape.kernels.ring import Ring


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    """The interpreter is the attacker's: whatever is installed may be imported."""
    made = Ring(tmp_path_factory.mktemp("any"), "any")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module", params=["allowlist", "any"])
def each_ring(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    """For attacks that need no import that the allowlist refuses."""
    made = Ring(tmp_path_factory.mktemp(request.param), request.param)
    try:
        yield made
    finally:
        made.close()
