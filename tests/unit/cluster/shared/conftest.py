"""Where the stores of these tests lie."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest


@pytest.fixture
def memory() -> str:
    """The address of an object store in this process."""
    pytest.importorskip("fsspec", reason="the extra [ray] has it")
    return f"memory://{secrets.token_hex(8)}"


@pytest.fixture(params=["folder", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else str(request.getfixturevalue("memory"))
