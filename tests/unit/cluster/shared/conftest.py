"""Where the stores of these tests lie."""

from __future__ import annotations

import importlib.util
import secrets
from pathlib import Path

import pytest

from tests.parts import skip_for_lack_of


@pytest.fixture
def memory() -> str:
    """The address of an object store in this process."""
    if importlib.util.find_spec("fsspec") is None:
        skip_for_lack_of("fsspec", "bin/setup --with ray")
    return f"memory://{secrets.token_hex(8)}"


@pytest.fixture(params=["folder", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else str(request.getfixturevalue("memory"))
