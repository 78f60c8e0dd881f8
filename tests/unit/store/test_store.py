"""What is written is read back exactly, and the record is true after a kill at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Self

import psutil
import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.store import text_budget as store_texts
from rlm_kernel_mcp.store.database import checkpoints as store_checkpoints
from rlm_kernel_mcp.store.paths import snapshot_files
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store

NOW = "2026-11-22T10:00:00.000Z"
ODD_TEXT = "a\x00b \ud800 \udfff 😀\r\n"

CHILD = """
import sys
from pathlib import Path
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
NOW = "2026-11-22T10:00:00.000Z"
def step(index, **columns):
    return EventRow("s_1", NOW, index, "run_repl", **columns)
store = Store.open(Path(sys.argv[1]))
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with one session, `s_1`."""
    store = Store.open(tmp_path / "state")
    store.add_session(session("s_1"))
    yield store
    store.close()


def session(session_id: str, last_used_at: str = NOW, status: str = "idle") -> SessionRecord:
    return SessionRecord(session_id, NOW, "text", status, last_used_at=last_used_at)


def step(index: int, session_id: str = "s_1", **columns: str | None) -> EventRow:
    return EventRow(session_id, NOW, index, "run_repl", **columns)  # type: ignore[arg-type]


class Child:
    """Another process that has opened the same store; killed at the end of the block."""

    def __init__(self, program: str, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD + program, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._process:
            self._process.kill()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def kill(self) -> list[str]:
        """End it by SIGKILL; what it still had said, line by line."""
        self._process.kill()
        assert self._process.stdout is not None
        rest = self._process.stdout.read().splitlines()
        self._process.wait()
        return rest


def test_a_session_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Every field, also with text that SQLite refuses, from another store of the same directory."""
    record = SessionRecord(
        session_id="s_1",
        created_at=NOW,
        kind="documents",
        status="idle",
        limits='{"max_steps": 64}',
        context=json.dumps({"head": ODD_TEXT}),
        context_ref='{"paths": ["a"]}',
        walls='[{"name": "seccomp"}]',
        counters='{"step_index": 3}',
        server_pid=11,
        kernel_pid=12,
        connection_file="/somewhere/kernel.json",
        last_used_at=NOW,
        stop_reason="timeout",
        final_answer=ODD_TEXT,
        finish_reason="completed",
        finished_at=NOW,
        extra=ODD_TEXT,
    )
    first, second = Store.open(tmp_path), Store.open(tmp_path)
    first.add_session(record)
    assert second.session("s_1") == record
    assert second.session("s_2") is None
    first.update_session("s_1", status="finalized", final_answer="42")
    assert second.sessions() == [replace(record, status="finalized", final_answer="42")]
    assert first.problem is second.problem is None
    first.close()
    second.close()


def test_a_session_was_last_used_when_it_was_made(tmp_path: Path, store: Store) -> None:
    """So that pruning by age has something to go by."""
    store.add_session(SessionRecord("s_2", "2026-01-01T00:00:00Z", "text", "idle"))
    assert [(found.session_id, found.last_used_at) for found in store.sessions()] == [
        ("s_2", "2026-01-01T00:00:00Z"),
        ("s_1", NOW),
    ]


def test_a_step_is_unknown_until_it_is_completed(store: Store) -> None:
    """Its row is there before it runs, and says that nobody knows how it ended."""
    row_id = store.begin_event(step(1, code=ODD_TEXT, summary=ODD_TEXT, result_status="ok"))
    (before,) = store.events("s_1")
    assert before == step(1, code=ODD_TEXT, summary=ODD_TEXT, result_status="unknown", id=row_id)  # type: ignore[arg-type]
    store.complete_event(row_id, result_status="ok", stdout=ODD_TEXT, error='{"ename": "E"}', duration_ms=7)
    (after,) = store.events("s_1")
    assert after == replace(before, result_status="ok", stdout=ODD_TEXT, error='{"ename": "E"}', duration_ms=7)


def test_a_session_s_counters_are_kept_also_where_its_step_s_row_is_gone(store: Store, tmp_path: Path) -> None:
    """The step ran, and was charged; another row of the session says so."""
    row_id = store.begin_event(step(1))
    store.let_go("s_1")
    with closing(sqlite3.connect(tmp_path / "state" / "sessions.db")) as connection:
        connection.execute("DELETE FROM events")
        connection.commit()
    counters = '{"step_index": 1, "runtime_ms": 5, "budget_used": 7}'
    store.complete_event(row_id, session={"counters": counters, "status": "idle"}, of="s_1", result_status="ok")
    (kept,) = store.sessions()
    assert (kept.counters, kept.status) == (counters, "idle")
    assert store.events("s_1") == []
    assert store.problem is None


def test_events_come_in_order_and_by_their_steps(store: Store) -> None:
    """In the order in which they were begun, whatever step they belong to, and of one session only."""
    store.add_session(session("s_2"))
    for index in (0, 1, 2, 2, 3):
        store.add_event(step(index, result_status="ok"))
        store.add_event(step(index, session_id="s_2"))
    assert [row.step_index for row in store.events("s_1")] == [0, 1, 2, 2, 3]
    assert [row.step_index for row in store.events("s_1", 2)] == [2, 2, 3]
    assert [row.step_index for row in store.events("s_1", None, 1)] == [0, 1]
    assert [row.step_index for row in store.events("s_1", 2, 2)] == [2, 2]
    assert {row.result_status for row in store.events("s_1")} == {"ok"}
    assert store.events("s_3") == []


def test_large_texts_are_left_out_on_request(store: Store) -> None:
    """A summary of a long trace does not read its output."""
    store.add_event(step(1, code="c", stdout="o", stderr="e", result="r", error="{}", summary="s"))
    (row,) = store.events("s_1", texts=False)
    assert (row.code, row.stdout, row.stderr, row.result, row.error, row.summary) == (None, None, None, None, None, "s")


def test_order_holds_where_the_clock_went_back(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a later process come after those of an earlier one, also after a step of the clock."""
    store.add_event(step(1))
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    later = Store.open(tmp_path / "state")
    lock = later.acquire("s_1")
    later.add_event(step(2))
    later.add_event(step(3))
    assert lock is not None
    lock.release()
    later.close()
    assert [row.step_index for row in store.events("s_1")] == [1, 2, 3]


def test_a_wrong_column_is_a_defect_and_not_a_bad_disk(store: Store) -> None:
    """The mistake is raised, and the store stays on disk."""
    row_id = store.begin_event(step(1))
    with pytest.raises(TypeError, match="no result_state"):
        store.complete_event(row_id, result_state="ok")
    with pytest.raises(TypeError, match="nonsense"):
        store.update_session("s_1", nonsense=1)
    with pytest.raises(sqlite3.IntegrityError):
        store.update_session("s_1", status=None)
    store.update_session("s_1")
    assert store.problem is None


def test_a_closed_store_says_so(store: Store) -> None:
    """Writing after the end is a defect, not a row lost in silence."""
    store.close()
    with pytest.raises(sqlite3.ProgrammingError, match="the store is closed"):
        store.add_event(step(1))
    with pytest.raises(sqlite3.ProgrammingError, match="the store is closed"):
        store.sessions()


def test_a_kill_leaves_the_running_step_unknown(tmp_path: Path) -> None:
    """SIGKILL between begin and complete: the step is there, and nobody claims to know how it ended."""
    program = """
store.add_session(SessionRecord("s_1", NOW, "text", "idle"))
store.complete_event(store.begin_event(step(1)), result_status="ok", stdout="one")
store.begin_event(step(2, code="2"))
print("begun", flush=True)
input()
"""
    with Child(program, tmp_path) as process:
        assert process.line() == "begun"
        process.kill()
    store = Store.open(tmp_path)
    assert [(row.step_index, row.result_status, row.stdout) for row in store.events("s_1")] == [
        (1, "ok", "one"),
        (2, "unknown", None),
    ]
    assert store.problem is None
    store.close()


@pytest.mark.parametrize("seed", range(4))
def test_no_acknowledged_step_is_missing_after_a_kill(tmp_path: Path, seed: int) -> None:
    """A writer is killed at a random moment in mid-work: what it said was written is there, whole."""
    program = """
store.add_session(SessionRecord("s_1", NOW, "text", "idle"))
for index in range(100_000):
    row_id = store.begin_event(step(index))
    store.complete_event(row_id, result_status="ok", stdout=str(index) * 1_000)
    print(f"{index:06}", flush=True)
"""
    with Child(program, tmp_path) as process:
        said = [process.line() for _ in range(random.Random(seed).randint(1, 300))]
        said += [line for line in process.kill() if len(line) == 6]
    store = Store.open(tmp_path)
    rows = store.events("s_1")
    store.close()
    assert [row.step_index for row in rows] == list(range(len(rows)))
    whole = rows if rows[-1].result_status == "ok" else rows[:-1]
    assert {row.result_status for row in rows[len(whole) :]} <= {"unknown"}
    assert all((row.result_status, row.stdout) == ("ok", str(row.step_index) * 1_000) for row in whole)
    assert len(whole) >= len(said) > 0
    assert store.problem is None


def test_two_processes_write_the_same_file_at_once(tmp_path: Path) -> None:
    """Neither loses a row, and neither waits for long."""
    program = """
name = input()
store.add_session(SessionRecord(name, NOW, "text", "idle"))
for index in range(300):
    event = EventRow(name, NOW, index, "run_repl")
    store.complete_event(store.begin_event(event), result_status="ok", stdout="x" * 3_000)
print(store.problem, flush=True)
input()
"""
    with Child(program, tmp_path) as one, Child(program, tmp_path) as two:
        one.tell("s_1")
        two.tell("s_2")
        assert (one.line(), two.line()) == ("None", "None")
    store = Store.open(tmp_path)
    for name in ("s_1", "s_2"):
        assert [row.step_index for row in store.events(name)] == list(range(300))
    store.close()


def test_many_threads_may_write(store: Store) -> None:
    """Large outputs come from worker threads, beside the event loop."""
    ids: list[int] = []

    def write() -> None:
        ids.extend(store.add_event(step(index)) for index in range(100))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 800
    assert [row.id for row in store.events("s_1")] == sorted(ids)


def test_a_context_comes_back_as_it_was_given(store: Store, tmp_path: Path) -> None:
    """Bytes, whatever they are; no context is None and not empty."""
    store.put_context("s_1", b"\x00\xff")
    other = Store.open(tmp_path / "state")
    assert other.context("s_1") == b"\x00\xff"
    assert other.context("s_2") is None
    other.close()


@pytest.mark.parametrize("name", ["", "added"])
def test_a_context_that_was_written_does_not_stay_in_memory(store: Store, name: str) -> None:
    """SQLite keeps the values that a statement was last given: of a large text they would be there for hours."""
    store.put_context("s_1", b"x", name)
    before = psutil.Process().memory_full_info().uss
    store.put_context("s_1", bytes(64 << 20), name)
    assert psutil.Process().memory_full_info().uss - before < 32 << 20
    assert len(store.context("s_1", name) or b"") == 64 << 20


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_nobody_else_can_read_the_store_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Directories are 0700 and files 0600: they hold what agents read and wrote."""
    before = os.umask(umask)
    try:
        store = Store.open(tmp_path / "one" / "two")
        lock = store.acquire("s_1")
        store.add_session(session("s_1"))
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert lock is not None
    assert store.problem is None
    assert modes == {
        "one": 0o700,
        "one/two": 0o700,
        "one/two/locks": 0o700,
        "one/two/locks/s_1.lock": 0o600,
        "one/two/opening.lock": 0o600,
        "one/two/sessions.db": 0o600,
        "one/two/sessions.db-shm": 0o600,
        "one/two/sessions.db-wal": 0o600,
    }
    lock.release()
    store.close()


def test_readers_and_a_writer_do_not_wait_for_each_other(store: Store, tmp_path: Path) -> None:
    """The file is in WAL mode, for whoever opens it."""
    connection = sqlite3.connect(tmp_path / "state" / "sessions.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.execute("BEGIN")
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
    store.begin_event(step(1))
    assert store.problem is None
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
    connection.close()


def test_a_folder_that_was_open_to_others_is_closed_unless_it_is_a_shared_one(tmp_path: Path) -> None:
    """A directory like /tmp (sticky) stays as it is; the files in it are private all the same."""
    for name, mode, expected in (("mine", 0o755, 0o700), ("shared", 0o1777, 0o1777)):
        directory = tmp_path / name
        directory.mkdir()
        directory.chmod(mode)
        Store.open(directory).close()
        assert stat.S_IMODE(directory.stat().st_mode) == expected
        assert stat.S_IMODE((directory / "sessions.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["etc", "README.md", ".git", "sessions.txt"])
def test_a_folder_that_has_others_things_in_it_stays_open_to_them(tmp_path: Path, name: str) -> None:
    """Named by mistake: `/` of a server that runs as root, or a project; whoever used it was kept out from then on."""
    directory = tmp_path / "used"
    directory.mkdir()
    directory.chmod(0o755)
    (directory / name).touch()
    with closing(Store.open(directory)) as store:
        lock = store.acquire("s_1")
        assert (store.problem, lock is None) == (None, False)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert stat.S_IMODE((directory / "locks").stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "sessions.db").stat().st_mode) == 0o600
    assert lock is not None
    lock.release()
    (directory / name).unlink()
    Store.open(directory).close()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_session_is_driven_by_one_process_at_a_time(tmp_path: Path) -> None:
    """The second is refused and told who holds it; a killed holder holds no longer."""
    store = Store.open(tmp_path)
    assert store.holder("s_1") is None
    with Child("lock = store.acquire('s_1'); print(lock is not None, flush=True); input()", tmp_path) as process:
        assert process.line() == "True"
        assert store.acquire("s_1") is None
        assert store.holder("s_1") == process.pid
        process.kill()
        assert store.holder("s_1") is None
    lock = store.acquire("s_1")
    assert lock is not None
    assert store.holder("s_1") == os.getpid()
    assert store.acquire("s_1") is None
    lock.release()
    lock.release()
    assert store.holder("s_1") is None
    assert list((tmp_path / "locks").iterdir()) == []
    store.close()


def test_no_two_hold_a_lock_while_others_let_it_go(tmp_path: Path) -> None:
    """The file is removed with its lock; who had opened it before must not take the removed one for the lock."""
    stores = [Store.open(tmp_path) for _ in range(3)]
    inside: set[int] = set()
    crowds = set()

    def drive(me: int) -> None:
        for _ in range(400):
            lock = stores[me].acquire("s_1")
            if lock is not None:
                inside.add(me)
                stores[me].holder("s_1")
                crowds.add(frozenset(inside))
                inside.discard(me)
                lock.release()

    threads = [threading.Thread(target=drive, args=[me]) for me in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert {len(crowd) for crowd in crowds} == {1}


def test_a_child_of_the_holder_does_not_hold(tmp_path: Path) -> None:
    """A kernel that outlives its server must not keep the session locked."""
    program = """
import subprocess
lock = store.acquire("s_1")
waiting = "import sys; print('waiting', flush=True); sys.stdin.read()"
subprocess.Popen([sys.executable, "-c", waiting], close_fds=False)
input()
"""
    with Child(program, tmp_path) as process:
        assert process.line() == "waiting"
        os.kill(process.pid, signal.SIGKILL)
        store = Store.open(tmp_path)
        # The holder's own end is not seen here before it is waited for; the child, on the same pipes, lives on.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        lock = store.acquire("s_1")
        assert lock is not None
        lock.release()
        store.close()


@pytest.mark.parametrize("session_id", ["", "../s_1", "a/b", "x" * 65, "s\n1", "s\x001"])
def test_a_lock_has_no_other_place_than_its_folder(store: Store, session_id: str) -> None:
    """A handle comes from a client; it cannot name a file elsewhere."""
    with pytest.raises(InvalidInput):
        store.acquire(session_id)
    with pytest.raises(InvalidInput):
        store.holder(session_id)


def test_old_sessions_are_removed_with_all_that_is_theirs(store: Store, tmp_path: Path) -> None:
    """By age, to the minute; a time that nobody can read keeps its session."""
    for name, used in (("s_old", "2026-10-23T09:59:00Z"), ("s_new", "2026-10-23T10:01:00.000+00:00"), ("s_odd", "?")):
        store.add_session(session(name, used))
        for index in range(150):
            store.add_event(step(index, session_id=name))
        store.put_context(name, b"x")
        for path in snapshot_files(tmp_path / "state", name):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
    other = Store.open(tmp_path / "state")
    other.prune(NOW, max_age_days=30)
    assert [found.session_id for found in other.sessions()] == ["s_1", "s_new", "s_odd"]
    assert (other.events("s_old"), other.context("s_old")) == ([], None)
    assert [path.stem for path in sorted((tmp_path / "state" / "snapshots").iterdir())] == ["s_new"] * 4 + ["s_odd"] * 4
    assert len(other.events("s_new")) == 150
    assert other.problem is None
    other.close()


def test_values_that_no_store_knows_go_when_they_are_too_old_or_too_large(store: Store, tmp_path: Path) -> None:
    """Their store may have been set aside, and be repaired; the oldest go first."""
    directory = tmp_path / "state" / "snapshots"
    directory.mkdir()
    now_s = datetime.fromisoformat(NOW).timestamp()
    for name, days in (("s_1", 400), ("s_new", 1), ("s_older", 20), ("s_old", 31)):
        for path in snapshot_files(tmp_path / "state", name):
            path.write_bytes(bytes(1 << 20))
            os.utime(path, (now_s, now_s - days * 86_400))
    store.prune(NOW)
    assert {path.stem for path in directory.iterdir()} == {"s_1", "s_new", "s_older"}
    store.prune(NOW, max_total_mb=9)
    assert {path.stem for path in directory.iterdir()} == {"s_1", "s_new"}


def test_a_live_session_is_never_removed(store: Store, tmp_path: Path) -> None:
    """Neither one of this process, nor one that another holds, however old and large."""
    program = """
store.add_session(SessionRecord("s_theirs", "2020-01-01T00:00:00Z", "text", "idle"))
lock = store.acquire("s_theirs")
store.add_session(SessionRecord("s_left", "2020-01-01T00:00:00Z", "text", "idle"))
print("ready", flush=True)
input()
"""
    with Child(program, tmp_path / "state") as process:
        assert process.line() == "ready"
        store.add_session(session("s_ours", "2020-01-01T00:00:00Z"))
        store.prune(NOW, max_age_days=30, max_total_mb=0)
        assert [found.session_id for found in store.sessions()] == ["s_theirs", "s_1", "s_ours"]
        process.kill()
    store.update_session("s_ours", status="finalized")
    store.prune(NOW, max_age_days=30)
    assert [found.session_id for found in store.sessions()] == ["s_1"]
    assert list((tmp_path / "state" / "locks").iterdir()) == []


def test_the_oldest_go_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    """The file gives its room back to the disk."""
    writer = Store.open(tmp_path)
    for day in range(1, 6):
        name = f"s_{day}"
        writer.add_session(session(name, f"2026-11-0{day}T00:00:00Z"))
        writer.add_event(step(1, session_id=name, stdout="x" * 2_000_000))
    writer.close()
    before = (tmp_path / "sessions.db").stat().st_size
    store = Store.open(tmp_path)
    store.prune(NOW, max_total_mb=5)
    assert [found.session_id for found in store.sessions()] == ["s_4", "s_5"]
    store.close()
    assert (tmp_path / "sessions.db").stat().st_size < before / 2


def test_a_step_beyond_the_room_keeps_head_and_tail_and_says_what_is_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small texts stay whole; the note counts characters; a session that has used up its room keeps a little."""
    monkeypatch.setattr(store_texts, "STEP_TEXT_BYTES", 30_000)
    monkeypatch.setattr(store_texts, "SESSION_TEXT_BYTES", 40_000)
    for index in range(3):
        row_id = store.begin_event(step(index, code="code"))
        error = json.dumps({"ename": "E", "evalue": "v", "traceback": "t" * 50_000})
        store.complete_event(row_id, stdout="ö" * 50_000 + "end", stderr="small", error=error)
    rows = store.events("s_1")
    for row in rows:
        assert row.stdout is not None
        assert row.error is not None
        head, note, tail = row.stdout.split("\n")
        assert head == "ö" * len(head)
        assert tail == "ö" * (len(tail) - 3) + "end"
        missing = 50_003 - len(head) - len(tail)
        assert note == f"[{missing:,} of 50,003 characters were not kept: the store has no more room for this step]"
        assert (row.stderr, row.code, json.loads(row.error)["ename"]) == ("small", "code", "E")
    sizes = [len((row.stdout or "").encode()) + len(row.error or "") for row in rows]
    assert 20_000 < sizes[0] < 31_000
    assert sizes[2] < 6_000


def wait_for_checkpoint() -> None:
    for thread in threading.enumerate():
        if thread.name == "store checkpoint":
            thread.join()


def test_the_log_beside_the_file_is_emptied_in_pauses(store: Store, tmp_path: Path) -> None:
    """Checkpoints are made by another thread, since they wait for the disk."""
    for _ in range(6):
        for index in range(5):
            store.add_event(step(index, stdout="x" * 2_000_000))
        wait_for_checkpoint()
    assert (tmp_path / "state" / "sessions.db").stat().st_size > 40_000_000
    assert (tmp_path / "state" / "sessions.db-wal").stat().st_size < 30_000_000
    assert store.problem is None


def test_the_log_beside_the_file_does_not_grow_for_ever_without_a_pause(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that step all the time must not fill the disk."""
    monkeypatch.setattr(store_checkpoints, "CHECKPOINT_BYTES", 500_000)
    monkeypatch.setattr(store_checkpoints, "LOG_BYTES", 2_000_000)
    for index in range(2_000):
        store.complete_event(store.begin_event(step(index)), result_status="ok", stdout="x" * 20_000)
    wait_for_checkpoint()
    assert (tmp_path / "state" / "sessions.db").stat().st_size > 40_000_000
    assert (tmp_path / "state" / "sessions.db-wal").stat().st_size < 15_000_000
    assert store.problem is None


def test_an_event_that_is_written_anew_between_two_reads_is_not_damaged(store: Store) -> None:
    """Whoever reads a session beside its server reads what an event is first, and its texts then."""
    row_id = store.begin_event(step(1, code="code"))
    (begun,) = store.heads("s_1")
    store.note_progress(row_id, 1, "so far", "", extra=None)
    (running,) = store.heads("s_1")
    texts = store.texts(begun)
    assert texts is not None
    assert texts["stdout"] == b"so far"
    store.complete_event(row_id, result_status="ok", stdout="so far and on", stderr="")
    row = store.with_texts(running)
    assert row is not None
    assert (row.code, row.stdout) == ("code", "so far and on")
