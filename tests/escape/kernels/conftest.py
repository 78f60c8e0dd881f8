"""Servers for these tests: one whose sessions may import everything, and one in each import policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.escape.kernels.ring import Ring


@pytest.fixture(scope="session")
def ring_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ring]]:
    """Makes the server of an import policy on first use; every session is its test's own."""
    made: dict[str, Ring] = {}

    def get(import_policy: str) -> Ring:
        if import_policy not in made:
            made[import_policy] = Ring(tmp_path_factory.mktemp(import_policy), import_policy)
        return made[import_policy]

    yield get
    for ring in made.values():
        ring.close()


@pytest.fixture(scope="module")
def ring(ring_of: Callable[[str], Ring]) -> Ring:
    """The interpreter is the attacker's: whatever is installed may be imported."""
    return ring_of("any")


@pytest.fixture(scope="module", params=["allowlist", "any"])
def each_ring(request: pytest.FixtureRequest, ring_of: Callable[[str], Ring]) -> Ring:
    """For attacks that need no import that the allowlist refuses."""
    return ring_of(request.param)
