"""One server of sessions, and one `rlm-kernel-mcp lab` on them, for the tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.lab.home import Home
from tests.lab.live.serving import LiveServer, home_with, live_server
from tests.sessions import SessionDriver, end_session, open_registry


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sessions' record is."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
async def registry(state: Path, anyio_backend: object) -> AsyncIterator[Registry]:
    """The agents' server; code may import what it likes, so that it can speak for its kernel."""
    del anyio_backend  # named, so that it has a loop
    async with open_registry(state, RLM_IMPORT_POLICY="any") as opened:
        yield opened


@pytest.fixture(scope="module")
async def lab(home: Home, registry: Registry, state: Path) -> AsyncIterator[LiveServer]:
    """The person's."""
    del registry  # it has made the record
    async with live_server(home_with(home, RLM_IMPORT_POLICY="any"), state) as served:
        yield served


@pytest.fixture
async def agent(registry: Registry) -> AsyncIterator[SessionDriver]:
    """An agent with a session of its own."""
    driver = await SessionDriver.open(registry)
    yield driver
    await end_session(driver)
