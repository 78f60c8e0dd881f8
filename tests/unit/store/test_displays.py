"""What a step has displayed lies in the store as it was given, or is known to be damaged, and goes with its session."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.store import displays as displays_module
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.schema import MIGRATIONS, migrate, version_of
from rlm_kernel_mcp.store.displays import DisplayRow
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from tests.records import changed

NOW: Final = "2026-11-30T10:00:00.000Z"
SHOWN: Final = [
    (1, "image/png", b"\x89PNG\0\xff"),
    (1, "text/html", "<b>Größe \ud800".encode("utf-8", "surrogatepass")),
]


def test_what_was_displayed_is_read_back_byte_by_byte_and_in_its_order(store: Store, tmp_path: Path) -> None:
    """Also by another process, and also where it is written a second time."""
    for _ in range(2):
        store.displays.add("s_1", 7, SHOWN)
    store.displays.add("s_1", 8, [])
    with closing(Store.open(tmp_path)) as other:
        assert other.displays.of("s_1", 7) == [DisplayRow(place, kind, len(data), data) for place, kind, data in SHOWN]
        assert other.displays.of("s_1", 8) == other.displays.of("s_2", 7) == []
        assert other.displays.damaged() == 0


def test_beyond_a_session_s_room_the_sizes_alone_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small still has room where what is large has none."""
    monkeypatch.setattr(displays_module, "SESSION_BYTES", 100)
    store.displays.add("s_1", 1, [(1, "image/png", bytes(80))])
    store.displays.add("s_1", 2, [(1, "image/png", bytes(30)), (2, "text/html", bytes(20)), (3, "text/html", b"x")])
    assert [row.data for row in store.displays.of("s_1", 2)] == [None, bytes(20), None]
    assert [(row.size_bytes, row.is_damaged) for row in store.displays.of("s_1", 2)] == [
        (30, False),
        (20, False),
        (1, False),
    ]
    store.displays.add("s_2", 1, [(1, "image/png", bytes(90))])
    assert [row.data for row in store.displays.of("s_2", 1)] == [bytes(90)]


@pytest.mark.parametrize(
    "change",
    [
        "data = zeroblob(length(data))",
        "data = NULL",
        "data = 'a text'",
        "bytes = bytes + 1",
        "bytes = 'x'",
        "mime_type = 'text/html'",
        "mime_type = 3",
        "place = place + 1",
        "display_check = display_check + 1",
        "display_check = 'x'",
        "event = 9",
        "number = 9",
    ],
)
def test_a_row_that_is_not_what_was_written_is_known(store: Store, tmp_path: Path, change: str) -> None:
    """Whatever it is: nobody is shown it, and the others are."""
    store.displays.add("s_1", 7, SHOWN)
    changed(tmp_path, f"UPDATE displays SET {change} WHERE number = 0")
    found = store.displays.of("s_1", 9 if change == "event = 9" else 7)
    assert DisplayRow(0, "", 0, None, is_damaged=True) in found
    assert store.displays.damaged() == 1
    assert "1 display of steps" in list(store.faults())


def test_what_a_session_has_displayed_is_added_up_once_and_not_with_each_step(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session may have a hundred thousand of them, and nobody else writes meanwhile."""
    read: list[str] = []
    reading = Database.read

    def noted(self: Database, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        read.append(query)
        return reading(self, query, parameters)

    monkeypatch.setattr(Database, "read", noted)
    for event in range(1, 6):
        store.displays.add("s_1", event, SHOWN)
    assert len(read) == 1


def test_it_goes_with_its_session(store: Store, tmp_path: Path) -> None:
    """With the oldest, and with one that is to be forgotten."""
    for session_id in ("s_1", "s_2"):
        store.add_session(SessionRecord(session_id, NOW, "text", "idle", last_used_at=NOW))
        store.add_event(EventRow(session_id, NOW, 1, "run_repl", result_status="ok", id=7))
        store.displays.add(session_id, 7, SHOWN)
        store.let_go(session_id)
    assert store.forget("s_2") == ""
    assert (store.displays.of("s_2", 7), len(store.displays.of("s_1", 7))) == ([], 2)
    with closing(Store.open(tmp_path)) as other:
        other.prune("2027-11-30T10:00:00.000Z")
        assert other._database.read("SELECT count(*) FROM displays")[-1] == (0,)


def test_a_store_of_before_gets_its_table(tmp_path: Path) -> None:
    """Nothing else in it changes."""
    with closing(sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:7])
    with closing(Store.open(tmp_path)) as store:
        store.displays.add("s_1", 1, SHOWN)
        assert len(store.displays.of("s_1", 1)) == len(SHOWN)
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        assert version_of(connection) == len(MIGRATIONS) >= 8


def test_a_disk_that_fails_costs_no_display(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait in memory, and are on disk when it works again."""
    database: Any = store._database
    database._begin_memory("the disk is full")
    monkeypatch.setattr(database, "_retry_at", float("inf"))
    store.displays.add("s_1", 7, SHOWN)
    assert [row.data for row in store.displays.of("s_1", 7)] == [data for _, _, data in SHOWN]
    assert store._database.return_to_disk()
    assert [row.data for row in store.displays.of("s_1", 7)] == [data for _, _, data in SHOWN]
