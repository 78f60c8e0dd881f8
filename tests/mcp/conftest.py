"""Servers for the tests of this directory: real processes, over real stdio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mcp.line_client import LineClient


@contextmanager
def _served(directory: Path) -> Iterator[LineClient]:
    client = LineClient(directory)
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


@pytest.fixture(scope="session")
def workers_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """One server a worker, for tests that neither count its sessions nor write lines of their own."""
    with _served(tmp_path_factory.mktemp("workers")) as client:
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """One server for the tests of a module."""
    with _served(tmp_path_factory.mktemp("server")) as client:
        yield client
