"""What the tests of fronts and hosts share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.front.hosts import Hosts


@pytest.fixture
def hosts(short_dir: Path, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(short_dir, tmp_path)
    yield made
    made.close()
