"""Servers for the tests of this directory: real processes, over real stdio."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mcp.line_client import SERVE, LineClient
from tests.mcp.own_host import OwnHost, through_front


@contextmanager
def _served(directory: Path) -> Iterator[LineClient]:
    client = LineClient(directory)
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


@pytest.fixture
def start() -> Iterator[tuple[tuple[str, ...], Mapping[str, str]]]:
    """How a client of the test's own starts a server: the command, and what its environment has for that."""
    argv = through_front(SERVE)
    if argv is None:
        yield SERVE, {}
    else:
        host = OwnHost(os.geteuid())
        yield argv, host.env
        host.end()


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
