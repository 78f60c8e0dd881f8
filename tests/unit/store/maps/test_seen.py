"""What steps have looked at lies in the store as it was given, or is known to be damaged, and goes with its session."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.store.database.schema import MIGRATIONS, migrate, version_of
from rlm_kernel_mcp.store.maps import seen as seen_module
from rlm_kernel_mcp.store.maps.seen import SeenRow
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from tests.records import changed

NOW: Final = "2026-11-30T10:00:00.000Z"


def test_rows_are_read_back_in_the_order_in_which_they_were_written(store: Store, tmp_path: Path) -> None:
    """Also by another process, and from behind one of them on."""
    store.seen.add("s_1", 5, 1, "searched", b"{}")
    store.seen.add("s_1", 9, 1, "delivered", b"[1]" * 1_000)
    store.seen.add("s_1", 7, 2, "searched", b"")
    rows = [SeenRow(5, 1, "searched", b"{}"), SeenRow(9, 1, "delivered", b"[1]" * 1_000)]
    with closing(Store.open(tmp_path)) as other:
        assert other.seen.of("s_1") == rows
        assert other.seen.of("s_1", 5) == rows[1:]
        assert other.seen.of("s_1", most=1) == rows[:1]
        assert other.seen.of("s_1", 9) == other.seen.of("s_2") == []
        assert other.seen.damaged() == 0


def test_a_session_has_room_for_so_much(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another process begins to write it; and a row alone has no more than is unpacked of it."""
    monkeypatch.setattr(seen_module, "SESSION_BYTES", 1_000)
    for number in range(10):
        store.seen.add("s_1", 1 + number, number, "searched", bytes(range(100)))
    kept = len(store.seen.of("s_1"))
    assert kept == 3
    with closing(Store.open(tmp_path)) as other:
        other.seen.add("s_1", 99, 99, "searched", bytes(range(100)))
        assert len(other.seen.of("s_1")) == kept
    monkeypatch.setattr(seen_module, "SESSION_BYTES", 1 << 30)
    store.seen.add("s_1", 100, 100, "searched", bytes(seen_module.UNPACKED_BYTES + 1))
    assert len(store.seen.of("s_1")) == kept


@pytest.mark.parametrize(
    "change",
    [
        "data = zeroblob(length(data))",
        "data = 'a text'",
        "bytes = bytes + 1",
        "bytes = 'x'",
        "kind = 'delivered'",
        "kind = 3",
        "event = 9",
        "event = 'x'",
        "seen_check = seen_check + 1",
        "seen_check = 'x'",
        "id = 8",
    ],
)
def test_a_row_that_is_not_what_was_written_is_known(store: Store, tmp_path: Path, change: str) -> None:
    """Whatever it is: nobody is shown it, and the others are."""
    store.seen.add("s_1", 1, 1, "searched", b"one")
    store.seen.add("s_1", 2, 2, "searched", b"two")
    changed(tmp_path, f"UPDATE seen SET {change} WHERE id = 1")
    assert sorted(row.data or b"" for row in store.seen.of("s_1")) == [b"", b"two"]
    assert store.seen.damaged() == 1
    assert "1 row of what steps looked at" in list(store.faults())


def test_a_row_that_would_unpack_to_far_too_much_is_damaged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has written it."""
    assert seen_module.unpacked(b"\1" + zlib.compress(bytes(1 << 26))) is None
    assert seen_module.unpacked(b"\1" + zlib.compress(b"x")[:-1]) is None
    assert seen_module.unpacked(b"not packed") is None
    assert seen_module.unpacked(bytes(1 << 20)) is None
    monkeypatch.setattr(seen_module, "UNPACKED_BYTES", 1_000)
    for size in (0, 1, 510, 511, 512, 1_000):
        assert seen_module.unpacked(seen_module.packed(bytes(size))) == bytes(size)


def test_it_goes_with_its_session(store: Store, tmp_path: Path) -> None:
    """And is not written for one that is gone, or was never there."""
    for session_id in ("s_1", "s_2"):
        store.add_session(SessionRecord(session_id, NOW, "text", "idle", last_used_at=NOW))
        store.seen.add(session_id, 1, 1, "searched", b"{}")
        store.documents.put(session_id, "context", ["a"], [1])
        store.let_go(session_id)
    assert not store.forget("s_2")
    store.seen.add("s_2", 2, 2, "searched", b"{}")
    store.documents.put("s_2", "context", ["a"], [1])
    with closing(Store.open(tmp_path)) as other:
        assert (other.seen.of("s_2"), other.documents.of("s_2", "context")) == ([], [])
        assert len(other.seen.of("s_1")) == len(other.documents.of("s_1", "context")) == 1
        other.remove_session("s_1")
        for table in ("seen", "context_documents"):
            assert other._database.read(f"SELECT count(*) FROM {table}")[-1] == (0,)


def test_old_sessions_take_it_with_them(store: Store, tmp_path: Path) -> None:
    """As all else of theirs."""
    store.seen.add("s_1", 1, 1, "searched", b"{}")
    store.documents.put("s_1", "context", ["a"], [1])
    store.let_go("s_1")
    with closing(Store.open(tmp_path)) as other:
        other.prune("2027-11-30T10:00:00.000Z")
        for table in ("seen", "context_documents"):
            assert other._database.read(f"SELECT count(*) FROM {table}")[-1] == (0,)


def test_a_store_of_before_gets_its_tables(tmp_path: Path) -> None:
    """Nothing else in it changes."""
    with closing(sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:8])
    with closing(Store.open(tmp_path)) as store:
        store.add_session(SessionRecord("s_1", NOW, "text", "idle", last_used_at=NOW))
        store.seen.add("s_1", 1, 1, "searched", b"{}")
        assert len(store.seen.of("s_1")) == 1
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        assert version_of(connection) == len(MIGRATIONS) >= 9


def test_a_disk_that_fails_costs_nothing_of_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits in memory, and is on disk when that works again."""
    database: Any = store._database
    database._begin_memory("the disk is full")
    monkeypatch.setattr(database, "_retry_at", float("inf"))
    store.seen.add("s_1", 1, 1, "searched", b"{}")
    store.documents.put("s_1", "context", ["a"], [1])
    assert len(store.seen.of("s_1")) == len(store.documents.of("s_1", "context")) == 1
    assert store._database.return_to_disk()
    assert len(store.seen.of("s_1")) == len(store.documents.of("s_1", "context")) == 1


def test_what_a_step_has_looked_at_is_written_with_its_end(store: Store) -> None:
    """Both or neither: a reader that knows of the one finds the other."""
    row_id = store.begin_event(EventRow("s_1", NOW, 1, "run_repl"))
    database: Any = store._database
    database._begin()
    also = store.seen.adding("s_1", store.mint(), row_id, "searched", b"{}")
    store.complete_event(row_id, of="s_1", also=also, result_status="ok")
    assert [row.event for row in store.seen.of("s_1")] == [row_id]
    assert [event.result_status for event in store.events("s_1")] == ["ok"]
