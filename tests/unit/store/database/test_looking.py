"""Who only looks at the store sees what is written, and can change nothing: neither a row nor the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.store.database.file import FILE_NAME
from rlm_kernel_mcp.store.database.looking import LookedAt
from rlm_kernel_mcp.store.store import SessionRecord, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path)
    made.add_session(SessionRecord("s_1", "2026-11-30T12:00:00Z", "text", "idle"))
    yield made
    made.close()


@pytest.fixture
def looked_at(store: Store, tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path, LookedAt(tmp_path))
    yield found
    found.close()


def test_what_a_server_writes_is_seen(store: Store, looked_at: Store) -> None:
    assert [one.session_id for one in looked_at.sessions()] == ["s_1"]
    store.update_session("s_1", status="running")
    record = looked_at.session("s_1")
    assert record is not None
    assert record.status == "running"


def test_nothing_can_be_written(store: Store, looked_at: Store, tmp_path: Path) -> None:
    with pytest.raises(sqlite3.ProgrammingError, match="only looked at"):
        looked_at.update_session("s_1", status="dead")
    for statement in ("DELETE FROM sessions", "PRAGMA user_version = 1", "CREATE TABLE t (a)", "VACUUM"):
        looked_at._database.read(statement)
        assert looked_at.unread
    assert [one.status for one in store.sessions()] == ["idle"]


def test_a_store_that_nobody_has_open_is_read_too(store: Store, tmp_path: Path) -> None:
    store.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    found = Store(tmp_path, LookedAt(tmp_path))
    assert [one.session_id for one in found.sessions()] == ["s_1"]
    found.close()
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_where_there_is_no_store_none_is_made(tmp_path: Path) -> None:
    found = Store(tmp_path, LookedAt(tmp_path))
    assert found.sessions() == []
    assert found.unread is not None
    found.close()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_comes_later_is_read_then(tmp_path: Path) -> None:
    found = Store(tmp_path, LookedAt(tmp_path))
    assert found.sessions() == []
    made = Store.open(tmp_path)
    made.add_session(SessionRecord("s_2", "2026-11-30T12:00:00Z", "text", "idle"))
    assert [one.session_id for one in found.sessions()] == ["s_2"]
    assert found.unread is None
    made.close()
    found.close()


def test_a_store_that_was_replaced_is_read_anew(store: Store, looked_at: Store, tmp_path: Path) -> None:
    assert looked_at.knows("s_1")
    store.close()
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        path.unlink()
    again = Store.open(tmp_path)
    assert not looked_at.knows("s_1")
    again.close()


def test_what_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 100)
    found = Store(tmp_path, LookedAt(tmp_path))
    assert found.sessions() == []
    assert "damaged" in (found.unread or "")
    found.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(("version", "words"), [(1, "an earlier version"), (1_000, "a newer version")])
def test_a_store_of_another_version_is_neither_read_nor_changed(tmp_path: Path, version: int, words: str) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    found = Store(tmp_path, LookedAt(tmp_path))
    assert found.sessions() == []
    assert words in (found.unread or "")
    found.close()


def test_a_lock_is_looked_at_as_by_anybody(store: Store, looked_at: Store) -> None:
    assert looked_at.holder("s_1") is None
    lock = store.acquire("s_1")
    assert lock is not None
    assert looked_at.holder("s_1") is not None
    lock.release()
