"""Container mode without an engine: refused with the command that mends it, or the process walls, never silently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mcp.line_client import LineClient


def server(directory: Path, **settings: str) -> Iterator[LineClient]:
    directory.mkdir()
    nowhere = {"PATH": str(directory), "RLM_SANDBOX_MODE": "container", "RLM_SANDBOX_CONTAINER_RUNTIME": "podman"}
    client = LineClient(directory, {**nowhere, **settings})
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[LineClient]:
    """A server that was asked for containers and may do nothing else."""
    yield from server(tmp_path / "server")


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[LineClient]:
    """A server that may fall back."""
    yield from server(tmp_path / "server", RLM_SANDBOX_FALLBACK="process")


def test_a_session_is_refused_with_the_commands_that_bring_the_engine_and_the_image(strict: LineClient) -> None:
    """The server itself lives on, for when it has been mended."""
    for _ in range(2):
        error = strict.error("rlm_init_context", context_text="x")
        assert error["code"] == "SANDBOX_UNAVAILABLE"
        assert "'podman'" in error["message"]
        assert "apt-get install podman" in error["next_step"]
        assert "bin/build-image --runtime podman" in error["next_step"]
    assert strict.end() == 0


def test_the_fallback_is_said_in_the_walls_of_every_session_and_in_the_log(lenient: LineClient) -> None:
    """The first row says that there is no container and why; the process walls follow."""
    for _ in range(2):
        opened = lenient.data("rlm_init_context", context_text="x")
        missing = opened["walls_missing"][0]
        assert missing["name"] == "container"
        assert "'podman'" in missing["reason"]
        assert "RLM_SANDBOX_FALLBACK=process" in missing["reason"]
        assert "container" not in opened["walls"]
        assert "seccomp" in opened["walls"]
    assert lenient.logged("RLM_SANDBOX_FALLBACK=process is used")
