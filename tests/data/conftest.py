"""A server of the kernelspec `rlm-python-data` for each module and tier, by the Python of `bin/setup --with data`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.escape.canaries import PROGRAM
from tests.mcp.line_client import LineClient
from tests.parts import data_python

WITHOUT_NAMESPACES = str(PROGRAM / "serve_without_namespaces.py")


def serving(directory: Path, *program: str, **more: str) -> LineClient:
    """A server of that kernelspec."""
    client = LineClient(
        directory, {"RLM_KERNEL": "rlm-python-data", **more}, (str(data_python()), "-I", *program, "serve"), warm=False
    )
    client.initialize()
    return client


@pytest.fixture(scope="module", params=["namespaces", "locks", "any"])
def client(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[LineClient]:
    """In both tiers, and with every import allowed. In the second tier the scratch directory is read-only."""
    program = (WITHOUT_NAMESPACES,) if request.param == "locks" else ("-m", "rlm_kernel_mcp")
    more = {"RLM_IMPORT_POLICY": "any"} if request.param == "any" else {}
    made = serving(tmp_path_factory.mktemp("server"), *program, **more)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def session(client: LineClient) -> str:
    """A session that the tests of a module share."""
    return client.open_session("day,sold\n2024-01-01,3\n2024-01-02,5\n")
