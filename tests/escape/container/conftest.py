"""Servers in container mode, one a module for the tests that leave it alive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.escape.container.runtimes import ContainerServer, answering

RUNTIMES = answering()


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Each engine of this machine."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerServer]:
    """One server for the tests of a module; any module may be imported, so that the walls are alone."""
    directory = tmp_path_factory.mktemp("server")
    (directory / "story.txt").write_text("It was a bright cold day.\n" * 1000)
    found = ContainerServer(runtime, directory, RLM_IMPORT_POLICY="any", RLM_MEMORY_LIMIT_MB="256")
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def own_server(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerServer]:
    """A server of the test's own, to be ended."""
    found = ContainerServer(runtime, tmp_path_factory.mktemp("own"))
    try:
        yield found
    finally:
        found.close()
