"""A place for hosts, where Codex is to have one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.front.hosts import Hosts


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    sockets = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    (tmp_path / "hosts").mkdir()
    made = Hosts(sockets, tmp_path / "hosts")
    yield made
    made.close()
    shutil.rmtree(sockets)
