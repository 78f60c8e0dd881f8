"""A bad disk degrades the store with a message that says what mends it; live sessions go on, and all is kept later."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.store.database import database as store_database
from rlm_kernel_mcp.store.database import file as store_file
from rlm_kernel_mcp.store.database import memory as store_memory
from rlm_kernel_mcp.store.database.schema import MIGRATIONS, migrate, transaction, version_of
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from tests.parts import ROOT
from tests.rights import in_own_mounts, reachable_directory, without_root_rights

NOW = "2026-11-22T10:00:00.000Z"
IN_MEMORY = "Until then sessions are kept in memory only, and are lost when this server ends."


def session(session_id: str = "s_1") -> SessionRecord:
    return SessionRecord(session_id, NOW, "text", "idle", last_used_at=NOW)


def step(index: int, session_id: str = "s_1") -> EventRow:
    return EventRow(session_id, NOW, index, "run_repl")


def run_step(store: Store, index: int, stdout: str = "out") -> None:
    store.complete_event(store.begin_event(step(index)), result_status="ok", stdout=stdout)


def steps_of(store: Store, session_id: str = "s_1") -> list[tuple[int, str, str | None]]:
    return [(row.step_index, row.result_status, row.stdout) for row in store.events(session_id)]


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that the user of `without_root_rights` can reach."""
    with reachable_directory() as directory:
        yield directory


def test_a_folder_that_cannot_be_written_leaves_a_store_in_memory(reachable: Path) -> None:
    """Everything works, the message names the setting, and all is written as soon as the directory can be."""
    parent = reachable / "parent"
    parent.mkdir()
    with without_root_rights(parent):
        parent.chmod(0o500)
        store = Store.open(parent / "state")
        store.add_session(session())
        lock = store.acquire("s_1")
        run_step(store, 1)
        store.put_context("s_1", b"context")
        assert steps_of(store) == [(1, "ok", "out")]
        assert store.session("s_1") == session()
        assert store.context("s_1") == b"context"
        assert store.problem == (
            "The session store cannot be used: its directory cannot be written; make it writable, or set RLM_STATE_DIR "
            f"to a directory that is. {IN_MEMORY}"
        )
        assert lock is not None
        assert not store._database.return_to_disk()
        parent.chmod(0o700)
        assert store._database.return_to_disk()
        run_step(store, 2)
        lock.release()
        store.close()
        again = Store.open(parent / "state")
        assert steps_of(again) == [(1, "ok", "out"), (2, "ok", "out")]
        assert again.context("s_1") == b"context"
        again.close()


@pytest.mark.parametrize("directory", ["file", "file/below", "n" * 300, "pipe"])
def test_a_place_that_can_be_no_folder_leaves_a_store_in_memory(tmp_path: Path, directory: str) -> None:
    """A wrong RLM_STATE_DIR does not stop the server."""
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    store = Store.open(tmp_path / directory)
    store.add_session(session())
    run_step(store, 1)
    assert steps_of(store) == [(1, "ok", "out")]
    assert "RLM_STATE_DIR" in str(store.problem)
    assert store.acquire("s_1") is not None
    store.prune(NOW)
    store.close()
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


FULL_DISK = """
import json, os, resource, sys
from pathlib import Path
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
directory, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "tmpfs":
    os.system(f"mount -t tmpfs -o size=2m none {directory}")
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
NOW = "2026-11-22T10:00:00.000Z"
store = Store.open(directory / "state")
def run_step(index):
    row_id = store.begin_event(EventRow("s_1", NOW, index, "run_repl"))
    store.complete_event(row_id, result_status="ok", stdout=str(index) * 5_000)
def steps(store):
    return [(row.step_index, row.stdout == str(row.step_index) * 5_000) for row in store.events("s_1")]
store.add_session(SessionRecord("s_1", NOW, "text", "idle"))
index = 0
while store.problem is None and index < 2_000:
    run_step(index)
    index += 1
running = store.begin_event(EventRow("s_1", NOW, index, "run_repl"))
full = store.problem
store.update_session("s_1", status="stopped")
while_full = steps(store)
still_full = store._database.return_to_disk()
if kind == "tmpfs":
    os.system(f"mount -o remount,size=64m {directory}")
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
mended = store._database.return_to_disk()
store.complete_event(running, result_status="ok", stdout=str(index) * 5_000)
problem = store.problem
store.close()
again = Store.open(directory / "state")
result = {
    "steps": index, "full": full, "while_full": while_full, "still_full": still_full, "mended": mended,
    "problem": problem, "again": steps(again), "status": again.session("s_1").status, "again_problem": again.problem,
}
again.close()
print(json.dumps(result))
"""


@pytest.mark.parametrize("kind", ["limit", "tmpfs"])
def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path, kind: str) -> None:
    """The steps go on in memory, and stand in the file as soon as there is room again."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), kind]
    if kind == "tmpfs":
        command = in_own_mounts() + command
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
    )
    found = json.loads(done.stdout)
    steps = [[index, True] for index in range(found["steps"])]
    assert found["steps"] > 20
    assert IN_MEMORY in found["full"]
    assert kind != "tmpfs" or "the disk is full; free some room" in found["full"]
    assert found["while_full"] == [*steps, [found["steps"], False]]
    assert (found["still_full"], found["mended"], found["problem"], found["again_problem"]) == (False, True, None, None)
    assert found["again"] == [*steps, [found["steps"], True]]
    assert found["status"] == "stopped"


@pytest.mark.parametrize("damage", ["garbage", "garbage behind a good header", "cut off", "another kind of database"])
def test_a_damaged_file_is_set_aside_and_kept(tmp_path: Path, damage: str) -> None:
    """A new store is begun, the old file stays for who wants to repair it, and the message says so."""
    store = Store.open(tmp_path)
    store.add_session(session())
    run_step(store, 1)
    store.close()
    path = tmp_path / "sessions.db"
    good = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"garbage" * 1_000)
    elif damage == "garbage behind a good header":
        path.write_bytes(good[:100] + b"\xff" * (len(good) - 100))
    elif damage == "cut off":
        path.write_bytes(good[: len(good) // 2])
    else:
        path.write_text("SQLite format 4")
    bad = path.read_bytes()
    again = Store.open(tmp_path)
    (aside,) = tmp_path.glob("sessions.db.damaged-*")
    assert aside.read_bytes() == bad
    assert again.problem == (
        f"The session store was damaged and is now called {aside.name}, below RLM_STATE_DIR; a new one was begun, "
        "which does not have the earlier sessions. Delete the old one if nobody wants to repair it."
    )
    assert again.sessions() == []
    again.add_session(session())
    run_step(again, 1)
    again.close()
    last = Store.open(tmp_path)
    assert (last.problem, steps_of(last)) == (None, [(1, "ok", "out")])
    last.close()


def test_damage_that_shows_only_later_does_not_stop_a_live_session(tmp_path: Path) -> None:
    """What can still be read of the live session is taken over into the new file."""
    store = Store.open(tmp_path)
    store.add_session(session("s_0"))
    for index in range(400):
        store.add_event(EventRow("s_0", NOW, index, "run_repl", stdout="x" * 3_000))
    store.close()
    store = Store.open(tmp_path)
    store.add_session(session())
    run_step(store, 1)
    running = store.begin_event(step(2))
    path = tmp_path / "sessions.db"
    with path.open("r+b") as file:
        pages = path.stat().st_size // 4096
        for page in range(12, pages):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    for index in range(3, 300):
        run_step(store, index)
    while store.problem is None:
        store.add_event(EventRow("s_0", NOW, 5, "run_repl", stdout="x" * 3_000))
    store.complete_event(running, result_status="ok", stdout="out")
    assert "it is damaged; it will be set aside" in store.problem
    assert store._database.return_to_disk()
    expected = [(index, "ok", "out") for index in range(1, 300)]
    assert steps_of(store) == expected
    store.close()
    again = Store.open(tmp_path)
    assert (steps_of(again), again.problem) == (expected, None)
    assert len(list(tmp_path.glob("sessions.db.damaged-*"))) >= 1
    again.close()


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """It is neither changed nor set aside; this server works in memory and says what to do."""
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "sessions.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "sessions.db").read_bytes()
    store = Store.open(tmp_path)
    store.add_session(session())
    assert store.problem == (
        f"The session store was written by a newer version of this program (its schema is 99, this program's "
        f"{len(MIGRATIONS)}); upgrade rlm-kernel-mcp, or set RLM_STATE_DIR to another directory. {IN_MEMORY}"
    )
    assert not store._database.return_to_disk()
    assert store.sessions() == [session()]
    store.close()
    assert (tmp_path / "sessions.db").read_bytes() == before
    assert list(tmp_path.glob("*.damaged*")) == []


def test_a_database_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """Another program's file of that name and version is not written to."""
    with sqlite3.connect(tmp_path / "sessions.db") as connection:
        connection.execute("CREATE TABLE sessions (other TEXT)")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.close()
    store = Store.open(tmp_path)
    store.add_session(session())
    assert "no such table: events" in str(store.problem)
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE other (a TEXT)",
        "CREATE TABLE sessions (a TEXT)",
        "CREATE VIEW v AS SELECT 1",
        "PRAGMA user_version = -1",
    ],
)
def test_nothing_is_written_into_another_program_s_database(tmp_path: Path, statement: str) -> None:
    """Else the next server would find tables that are not ours beside ours, and set all aside as damaged."""
    file = tmp_path / "sessions.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(statement)
    connection.close()
    before = file.read_bytes()
    store = Store.open(tmp_path)
    store.add_session(session())
    assert "sessions.db is another program's database" in str(store.problem)
    assert IN_MEMORY in str(store.problem)
    assert store.sessions() == [session()]
    store.close()
    assert file.read_bytes() == before
    assert list(tmp_path.glob("*.damaged*")) == []


@pytest.mark.parametrize("kind", ["directory", "fifo", "/dev/zero", "/dev/null"])
def test_what_is_no_regular_file_is_not_opened_and_said(tmp_path: Path, kind: str) -> None:
    """It is not called a directory that cannot be written, nor a fault of the disk."""
    file = tmp_path / "sessions.db"
    if kind == "directory":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    else:
        file.symlink_to(kind)
    store = Store.open(tmp_path)
    store.add_session(session())
    assert "sessions.db is not a regular file" in str(store.problem)
    assert store.sessions() == [session()]
    store.close()


def test_a_database_that_stays_locked_is_waited_for_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs in mid-write does not hang the others: they go on in memory until it ends."""
    monkeypatch.setattr(store_file, "BUSY_TIMEOUT_MS", 20)
    store = Store.open(tmp_path)
    store.add_session(session())
    running = store.begin_event(step(1))
    hanging = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
    hanging.execute("BEGIN IMMEDIATE")
    store.complete_event(running, result_status="ok", stdout="out")
    run_step(store, 2)
    assert "another process holds a lock on it; stop that process." in str(store.problem)
    assert not store._database.return_to_disk()
    assert steps_of(store) == [(1, "ok", "out"), (2, "ok", "out")]
    hanging.execute("ROLLBACK")
    hanging.close()
    assert store._database.return_to_disk()
    run_step(store, 3)
    assert store.problem is None
    store.close()
    again = Store.open(tmp_path)
    assert steps_of(again) == [(1, "ok", "out"), (2, "ok", "out"), (3, "ok", "out")]
    again.close()


def test_a_write_tries_the_disk_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to call `return_to_disk`."""
    monkeypatch.setattr(store_file, "BUSY_TIMEOUT_MS", 20)
    monkeypatch.setattr(store_database, "_FIRST_RETRY_S", 0.0)
    store = Store.open(tmp_path)
    hanging = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
    hanging.execute("BEGIN IMMEDIATE")
    store.add_session(session())
    run_step(store, 1)
    assert IN_MEMORY in str(store.problem)
    hanging.execute("ROLLBACK")
    hanging.close()
    run_step(store, 2)
    assert store.problem is None
    assert steps_of(store) == [(1, "ok", "out"), (2, "ok", "out")]
    store.close()


def test_memory_is_bounded_where_the_disk_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs go, the record of steps stays."""
    monkeypatch.setattr(store_memory, "MEMORY_BYTES", 1_000_000)
    (tmp_path / "file").write_text("")
    store = Store.open(tmp_path / "file")
    store.add_session(session())
    for index in range(100):
        run_step(store, index, stdout="x" * 50_000)
    rows = steps_of(store)
    assert [row[:2] for row in rows] == [(index, "ok") for index in range(100)]
    assert rows[0][2] == "[not kept: the session store is in memory, which is full]"
    assert rows[-1][2] == "x" * 50_000
    assert IN_MEMORY in str(store.problem)
    run_step(store, 100)
    assert steps_of(store)[-1] == (100, "ok", "out")
    store.close()


ADD_COLUMN = ("ALTER TABLE sessions ADD COLUMN model TEXT NOT NULL DEFAULT 'any'", "CREATE TABLE notes (text TEXT)")


def test_a_migration_keeps_what_is_there(tmp_path: Path) -> None:
    """A store of this version, brought to a next one, still has its rows; a second run changes nothing."""
    store = Store.open(tmp_path)
    store.add_session(session())
    run_step(store, 1)
    store.close()
    connection = store_file.connect(tmp_path / "sessions.db")
    for _ in range(2):
        migrate(connection, (*MIGRATIONS, ADD_COLUMN))
    assert version_of(connection) == len(MIGRATIONS) + 1
    assert connection.execute("SELECT session_id, model FROM sessions").fetchall() == [("s_1", "any")]
    assert connection.execute("SELECT stdout FROM events").fetchall() == [("out",)]
    connection.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """All steps or none: also the version stays."""
    Store.open(tmp_path).close()
    connection = store_file.connect(tmp_path / "sessions.db")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, (*MIGRATIONS, ADD_COLUMN, ("CREATE TABLE more (text TEXT)", "no SQL")))
    assert version_of(connection) == len(MIGRATIONS)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    assert not tables & {"notes", "more"}
    connection.close()


def test_an_empty_file_is_brought_to_the_newest_version(tmp_path: Path) -> None:
    """Version 0 is a file that was made and not yet used, as a kill at the wrong moment leaves it."""
    (tmp_path / "sessions.db").touch()
    store = Store.open(tmp_path)
    store.add_session(session())
    assert store.problem is None
    store.close()
    connection = store_file.connect(tmp_path / "sessions.db")
    assert version_of(connection) == len(MIGRATIONS)
    connection.close()


def test_a_transaction_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """An error inside takes back what was done before it."""
    connection = store_file.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE t (x)")

    def insert_and_fail() -> None:
        with transaction(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("no SQL")

    with pytest.raises(sqlite3.OperationalError):
        insert_and_fail()
    with transaction(connection):
        connection.execute("INSERT INTO t VALUES (2)")
    assert connection.execute("SELECT * FROM t").fetchall() == [(2,)]
    connection.close()


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EIO, errno.ESTALE])
def test_a_disk_that_does_not_answer_is_not_taken_for_another_process(number: int) -> None:
    """A file system of the network says ETIMEDOUT; no process could be stopped that would mend it."""
    said = store_file.explain_error(OSError(number, os.strerror(number)))
    assert said == f"{os.strerror(number)}; check the disk, or set RLM_STATE_DIR to another directory."


def test_a_store_that_another_process_is_opening_all_the_while_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not a disk that does not answer."""
    monkeypatch.setattr(store_file, "_OPENING_PAUSE_S", 0)
    with store_file._one_opener(tmp_path):
        connection, problem = store_file.open_file(tmp_path)
    assert (connection, problem) == (
        None,
        "The session store cannot be used: another process holds a lock on it; stop that process.",
    )
