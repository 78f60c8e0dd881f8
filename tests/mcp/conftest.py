"""Servers for the tests of this directory: real processes, over real stdio."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mcp.line_client import LineClient


@pytest.fixture(scope="session")
def workers_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """One server a worker, for tests that neither count its sessions nor write lines of their own."""
    client = LineClient(tmp_path_factory.mktemp("workers") / "")
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """One server for the tests of a module."""
    client = LineClient(tmp_path_factory.mktemp("server") / "")
    try:
        client.initialize()
        yield client
    finally:
        client.kill()
