"""Where the stores of these tests lie."""

from __future__ import annotations

import importlib.util
import secrets
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from tests.parts import skip_for_lack_of

ONE_REQUEST = ("cat_file", "cp_file", "info", "ls", "pipe_file", "rm_file")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an object store in this process.

    As a service does, it answers one request as a whole: fsspec's own looks whether there is an object and then makes
    it, and reads from a place in it that all its readers share.
    """
    if importlib.util.find_spec("fsspec") is None:
        skip_for_lack_of("fsspec", "bin/setup --with ray")
    from fsspec.implementations.memory import MemoryFileSystem

    turn = threading.RLock()
    for name in ONE_REQUEST:
        monkeypatch.setattr(MemoryFileSystem, name, _in_turn(getattr(MemoryFileSystem, name), turn))
    return f"memory://{secrets.token_hex(8)}"


@pytest.fixture(params=["folder", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else str(request.getfixturevalue("memory"))


def _in_turn(work: Callable[..., Any], turn: threading.RLock) -> Callable[..., Any]:
    @wraps(work)
    def done(*arguments: Any, **options: Any) -> Any:
        with turn:
            return work(*arguments, **options)

    return done
