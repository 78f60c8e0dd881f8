"""One registry a worker and policy, and sessions of it: where state is not the subject, kernels are shared.

These have a fork server that is started as a user's is, in a worker of `bin/test` too. A test that is about a registry
itself (its clocks, its settings) opens its own; there its fork server is forked (`tests/warm/fork_servers.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import SessionDriver, end_session, lent, open_workers_registry


@pytest.fixture(scope="session")
async def workers_registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """A registry with the shipped policy."""
    async with open_workers_registry(tmp_path_factory.mktemp("state")) as opened:
        yield opened


@pytest.fixture(scope="session")
async def workers_any_registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """A registry of `RLM_IMPORT_POLICY=any`: the code of a step may reach everything that the walls leave."""
    async with open_workers_registry(tmp_path_factory.mktemp("state"), RLM_IMPORT_POLICY="any") as opened:
        yield opened


@pytest.fixture(scope="module")
async def registry(workers_registry: Registry) -> AsyncIterator[Registry]:
    """The worker's registry with the shipped policy; no session of a module outlives it."""
    async with lent(workers_registry) as mine:
        yield mine


@pytest.fixture(scope="module")
async def any_registry(workers_any_registry: Registry) -> AsyncIterator[Registry]:
    """The worker's registry of `RLM_IMPORT_POLICY=any`; no session of a module outlives it."""
    async with lent(workers_any_registry) as mine:
        yield mine


@pytest.fixture(scope="module")
async def shared(registry: Registry) -> SessionDriver:
    """A session for tests that leave nothing behind that others would notice."""
    return await SessionDriver.open(registry, "alpha\nbeta\ngamma\n")


@pytest.fixture
async def session(registry: Registry) -> AsyncIterator[SessionDriver]:
    """A session of the test's own."""
    made = await SessionDriver.open(registry)
    yield made
    await end_session(made)


@pytest.fixture
async def any_session(any_registry: Registry) -> AsyncIterator[SessionDriver]:
    """A session of the test's own, whose courtesies are off."""
    made = await SessionDriver.open(any_registry)
    yield made
    await end_session(made)
