"""A running server, a session of it, and consoles that attach to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.attach.console import Console
from tests.mcp.line_client import LineClient


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """One server a worker."""
    client = LineClient(tmp_path_factory.mktemp("server"))
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


@pytest.fixture(scope="session")
def any_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """One server a worker whose sessions may do to their kernels what they like."""
    client = LineClient(tmp_path_factory.mktemp("any"), {"RLM_IMPORT_POLICY": "any"})
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


@pytest.fixture
def session_id(client: LineClient) -> str:
    """A session with one step."""
    session_id = client.open_session("the context")
    client.run(session_id, "agents = 41")
    return session_id


@pytest.fixture
def attach(client: LineClient, session_id: str) -> Iterator[Callable[..., Console]]:
    """Attach a console to the session, as often as asked; the type of its terminal may be given."""
    consoles: list[Console] = []

    def attach(*terminal_type: str) -> Console:
        consoles.append(Console(["-m", "rlm_kernel_mcp", "attach", session_id], client.env, *terminal_type))
        return consoles[-1]

    yield attach
    for console in consoles:
        console.close()
