"""A changed byte, a file cut off or a value of another type in the store: whole, told or set aside, and never a raise.

The long form is `bin/soak store_bytes`.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.store.database import apart as store_apart
from rlm_kernel_mcp.store.database.rows import check_of
from rlm_kernel_mcp.store.database.schema import MIGRATIONS, migrate
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from tests.soaks import store_bytes

NOW = "2026-11-22T10:00:00.000Z"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A closed store with two sessions of one event each."""
    store = Store.open(tmp_path)
    for session_id in ("s_1", "s_2"):
        store.add_session(SessionRecord(session_id, NOW, "text", "idle", context='{"chars": 3}', counters="{}"))
        store.add_event(EventRow(session_id, NOW, 1, "run_repl", "mcp", "ok", "print", code="print(1)", stdout="one"))
    store.close()
    return tmp_path


def test_a_row_s_checksum_is_the_one_that_stores_have_since_there_is_one() -> None:
    """Another way to compute it would make every row that was written before a damaged one."""
    assert check_of(("s_7f3k9qab", None, 64, "größer \ud800", "")) == 3_380_282_246


def change(directory: Path, statement: str) -> None:
    connection = sqlite3.connect(directory / "sessions.db", isolation_level=None)
    connection.execute(statement)
    connection.close()


def test_each_of_some_damages_is_whole_or_told_or_set_aside() -> None:
    """Of 600 single bytes 50 raised and 28 lost rows in silence."""
    ends, failed = store_bytes.trials(30, seed=7)
    assert failed == []
    assert {"told", "set aside"} <= set(ends)


def test_a_judge_sees_what_is_missing_in_silence(tmp_path: Path) -> None:
    """The control of the test above: rows that are gone from a store that is whole."""
    store_bytes.build(tmp_path).close()
    expected, told = store_bytes.read_all(tmp_path)
    assert not told
    change(tmp_path, "DELETE FROM events WHERE session_id = 's_two' AND step_index = 4")
    assert store_bytes.judge(tmp_path, expected).startswith("silent")


@pytest.mark.parametrize("value", ["'{bad'", "'[]'", "NULL", "7", "x'ff'", "4611686018427387904"])
@pytest.mark.parametrize("column", ["context", "counters", "limits"])
def test_a_damaged_row_is_left_out_and_the_others_stay(directory: Path, column: str, value: str) -> None:
    """Also one of a version that kept no checksum: there what is in it must be what is meant to be."""
    if value == "NULL":
        value = "''||x'ff'"  # the column takes none
    for no_check in ("", ", row_check = NULL"):
        change(directory, f"UPDATE sessions SET {column} = {value}{no_check} WHERE session_id = 's_1'")
        store = Store.open(directory)
        assert ([one.session_id for one in store.sessions()], store.sessions().damaged) == (["s_2"], 1)
        assert store.summaries(["s_1", "s_2"]).damaged == 1
        with pytest.raises(SessionNotFound, match="the store is damaged"):
            store.session("s_1")
        assert store.knows("s_1")
        assert [event.stdout for event in store.events("s_1")] == ["one"]
        assert list(store.faults()) == ["the record of 1 session"]
        store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "guardrail_snapshot = '{bad'",
        "stdout = 'two'",
        "step_index = 'one'",
        "text_bytes = 9",
        "code = NULL",
        "id = 0.5",
    ],
)
def test_a_damaged_event_is_left_out_and_counted(directory: Path, damage: str) -> None:
    """A text that was changed is still a text: only its checksum tells."""
    change(directory, f"UPDATE events SET {damage} WHERE session_id = 's_1'")
    store = Store.open(directory)
    events = store.events("s_1")
    assert (events, events.damaged) == ([], 1)
    assert store.events("s_2").damaged == 0
    assert list(store.faults()) == ["1 event of session s_1"]
    store.close()


def test_rows_of_a_version_without_checksums_are_read(tmp_path: Path) -> None:
    """And get theirs when they are written again by who has the whole row."""
    connection = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
    migrate(connection, MIGRATIONS[:1])
    connection.execute(
        "INSERT INTO sessions VALUES ('s_1', ?, 'text', 'idle', '{}', '{}', '{}', '[]', '{}', 1, 2, '', ?, "
        "NULL, NULL, NULL, NULL, NULL)",
        (NOW, NOW),
    )
    connection.execute(
        "INSERT INTO events VALUES ('s_1', 5, ?, 1, 'run_repl', 'mcp', 'ok', 'x', 3, '{}', 4, NULL, 'co', NULL, NULL, "
        "NULL, 'ou')",
        (NOW,),
    )
    connection.close()
    store = Store.open(tmp_path)
    (event,) = store.events("s_1")
    assert (event.code, event.stdout, store.problem) == ("co", "ou", None)
    lock = store.acquire("s_1")
    store.update_session("s_1", status="stopped")
    assert lock is not None
    lock.release()
    store.close()
    change(tmp_path, "UPDATE sessions SET status = 'idle'")
    again = Store.open(tmp_path)
    assert again.sessions().damaged == 1
    again.close()


@pytest.mark.parametrize("found", [b"CREATE TABLE sessions", b"PRIMARY KEY (session_id, id)"])
def test_a_schema_whose_text_is_damaged_is_set_aside(directory: Path, found: bytes) -> None:
    """Every call answered INTERNAL_ERROR for good: its error message was not a text."""
    path = directory / "sessions.db"
    data = path.read_bytes()
    at = data.index(found) + len(found) - 3
    for byte in (0xFF, ord("#")):
        path.write_bytes(data[:at] + bytes([byte]) + data[at + 1 :])
        store = Store.open(directory)
        assert "damaged and is now called" in str(store.problem)
        assert store.sessions() == []
        store.close()


def test_damage_found_by_a_read_is_set_aside_and_the_live_session_is_kept(directory: Path) -> None:
    """A reader is told; what the server itself drives goes on."""
    store = Store.open(directory)
    store.add_session(SessionRecord("s_live", NOW, "text", "idle"))
    path = directory / "sessions.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    reader = Store.open(directory)
    assert "damaged and is now called" in str(reader.problem)
    reader.close()
    store.update_session("s_live", status="stopped")
    assert [one.session_id for one in store.sessions()] == ["s_live"]
    store.close()


def test_no_reader_waits_for_a_look_through_the_whole_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes as long as the file is large and the disk is slow."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly(connection: sqlite3.Connection) -> bool:
        begun.set()
        return not go_on.wait(60) and connection is None

    monkeypatch.setattr(store_apart, "is_broken", slowly)
    store = Store.open(directory)
    with ThreadPoolExecutor(2) as threads:
        looking = threads.submit(store._database.check)
        try:
            assert begun.wait(60)
            assert [head.row.step_index for head in threads.submit(store.heads, "s_1").result(60)] == [1]
            assert not looking.done()
        finally:
            go_on.set()
    store.close()


CUT_OFF = """
import os, sys
from pathlib import Path
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
NOW = "2026-11-22T10:00:00.000Z"
directory = Path(sys.argv[1])
store = Store.open(directory)
store.add_session(SessionRecord("s_1", NOW, "text", "idle"))
for step in range(3):
    store.add_event(EventRow("s_1", NOW, step, "run_repl", stdout=str(step)))
    os.truncate(directory / "sessions.db-shm", 0)
found = [event.stdout for event in store.events("s_1")]
os.truncate(directory / "sessions.db-shm", 0)
store.close()
print(found, store.problem)
"""


def test_an_index_that_is_cut_off_under_a_live_store_ends_nobody(tmp_path: Path) -> None:
    """The process was ended by SIGBUS at its next access."""
    done = subprocess.run(
        [sys.executable, "-c", CUT_OFF, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "['0', '1', '2'] None\n"), done.stderr
    again = Store.open(tmp_path)
    assert ([event.stdout for event in again.events("s_1")], again.problem) == (["0", "1", "2"], None)
    again.close()
