"""One session with nothing but a record, and its store as the live page looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.store.store import Store
from tests.unit.watching.recorded import Recorded, looked_at


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Recorded]:
    made = Recorded(tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(session: Recorded, tmp_path: Path) -> Iterator[Store]:
    found = looked_at(tmp_path)
    yield found
    found.close()
