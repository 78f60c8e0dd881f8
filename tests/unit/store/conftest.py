"""What the tests of the store share: one with a session that has nothing yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.store.store import SessionRecord, Store

NOW: Final = "2026-11-30T10:00:00.000Z"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with one session, `s_1`."""
    opened = Store.open(tmp_path)
    opened.add_session(SessionRecord("s_1", NOW, "text", "idle", last_used_at=NOW))
    yield opened
    opened.close()
