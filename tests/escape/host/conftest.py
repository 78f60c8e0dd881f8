"""One registry a worker; its kernels are given little time to obey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import SessionDriver, lent, open_workers_registry

POLICY: Final = {"interrupt_grace_ms": 200, "snapshots": {"total_mb": 0}}
"""A kernel that does not obey is not waited for, and nothing of it is kept: neither is the subject here."""


@pytest.fixture(scope="session")
async def workers_registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """A registry whose sessions may use everything that the walls leave."""
    state = tmp_path_factory.mktemp("state")
    async with open_workers_registry(state, policy=POLICY, RLM_IMPORT_POLICY="any") as opened:
        yield opened


@pytest.fixture(scope="module")
async def registry(workers_registry: Registry) -> AsyncIterator[Registry]:
    """The worker's registry; no session of a module outlives it."""
    async with lent(workers_registry) as mine:
        yield mine


@pytest.fixture(scope="module")
async def neighbour(registry: Registry) -> SessionDriver:
    """An honest session beside the hostile ones."""
    session = await SessionDriver.open(registry, "the neighbour's context")
    await session.ok("kept = 'kept'")
    return session
