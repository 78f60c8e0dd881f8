"""What a person at a console reads of a kernel that gives no sign of life."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rlm_kernel_mcp.commands.attached.lost_kernel import LostKernel
from rlm_kernel_mcp.store.store import SessionRecord, Store


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with one session."""
    with closing(Store.open(tmp_path)) as store:
        store.add_session(SessionRecord("s_1", "2026-01-01T00:00:00Z", "text", "idle", connection_file="/x"))
    return tmp_path


def changed(state: Path, statement: str) -> None:
    with closing(sqlite3.connect(state / "sessions.db")) as connection:
        connection.execute(statement)
        connection.commit()


def test_the_record_says_why(state: Path) -> None:
    """As far as it has a reason."""
    lost = LostKernel(state, "s_1", "/x")
    assert "the session's server has ended" in lost.words()
    changed(state, "DELETE FROM sessions")
    assert "no longer recorded" in lost.words()


def test_a_record_that_cannot_be_read_is_not_called_gone(state: Path) -> None:
    """A damaged row, a store of another version, a directory that is closed: each is told as that, and no traceback."""
    lost = LostKernel(state, "s_1", "/x")
    changed(state, "UPDATE sessions SET status = 'finalized'")
    assert lost.words().endswith("record says of it is damaged. Leave (exit or Ctrl-D).")
    changed(state, "PRAGMA user_version = 999")
    assert "record cannot be read. The session store was written by a newer version" in lost.words()
    assert "no more" not in lost.words()
