"""Servers for these tests: one whose sessions may import everything, and one in each import policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.escape.kernels.kernel_server import KernelServer


@pytest.fixture(scope="session")
def ring_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], KernelServer]]:
    """Makes the server of an import policy on first use; every session is its test's own."""
    made: dict[str, KernelServer] = {}

    def get(import_policy: str) -> KernelServer:
        if import_policy not in made:
            made[import_policy] = KernelServer(tmp_path_factory.mktemp(import_policy), import_policy)
        return made[import_policy]

    yield get
    for kernel_server in made.values():
        kernel_server.close()


@pytest.fixture(scope="module")
def kernel_server(ring_of: Callable[[str], KernelServer]) -> KernelServer:
    """The interpreter is the attacker's: whatever is installed may be imported."""
    return ring_of("any")


@pytest.fixture(scope="module", params=[pytest.param("allowlist", marks=pytest.mark.slow), "any"])
def each_server(request: pytest.FixtureRequest, ring_of: Callable[[str], KernelServer]) -> KernelServer:
    """For attacks that need no import that the allowlist refuses; the fast part tries them where least is refused."""
    return ring_of(request.param)
