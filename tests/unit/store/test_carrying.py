"""The rows of a session on their way to another node: which have changed, as bytes, and written there."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import SessionBusy, StoreDamaged
from rlm_kernel_mcp.store.carrying import following
from rlm_kernel_mcp.store.carrying.bringing import rows_of
from rlm_kernel_mcp.store.carrying.following import Mark
from rlm_kernel_mcp.store.carrying.rows import KEYS, body_of, row_of
from rlm_kernel_mcp.store.database.schema import TABLES
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store

ID = "ses_a"
NOW = "2026-11-30T20:00:00.000Z"


def record(session_id: str = ID, **fields: Any) -> SessionRecord:
    return SessionRecord(**{"session_id": session_id, "created_at": NOW, "kind": "text", "status": "idle"} | fields)


def opened(tmp_path: Path, name: str = "one") -> Store:
    (tmp_path / name).mkdir()
    return Store.open(tmp_path / name)


def keys(frames: tuple[tuple[str, bytes | None], ...]) -> list[str]:
    return [key if body is not None else f"-{key}" for key, body in frames]


def all_rows(store: Store, session_id: str = ID) -> dict[str, list[tuple[Any, ...]]]:
    """Every column of every row of a session."""
    found = {}
    for table in KEYS:
        found[table] = store._database.read(f"SELECT * FROM {table} WHERE session_id = ? ORDER BY rowid", (session_id,))
    return found


def filled(store: Store) -> None:
    """A session with a row in most tables, and texts of each kind."""
    store.add_session(record(question="\udcff lone", context_ref=json.dumps({"a": "ä"})))
    store.put_context(ID, b"\x00\xff text")
    store.put_context(ID, b"more", "more")
    event = store.begin_event(EventRow(ID, NOW, 1, "run_repl", code="x = '\ud800'"))
    store.complete_event(event, result_status="ok", stdout="täxt", result="'\ud800'")
    store.seen.add(ID, store.mint(), event, "searched", b"data" * 400)


def test_every_table_with_rows_of_a_session_is_carried(tmp_path: Path) -> None:
    """Whoever adds one is told here, and says by which columns its rows are told apart."""
    store = opened(tmp_path)
    columns = {
        table: [row[1] for row in store._database.read(f"PRAGMA table_info({table})") if row[1] != "session_id"]
        for table in TABLES
        if any(row[1] == "session_id" for row in store._database.read(f"PRAGMA table_info({table})"))
    }
    assert columns.keys() == KEYS.keys()
    for table, names in KEYS.items():
        primary = [row[1] for row in store._database.read(f"PRAGMA table_info({table})") if row[5]]
        assert set(primary) == {"session_id", *names}


def test_what_is_written_is_what_has_changed(tmp_path: Path) -> None:
    """Each write once, whatever wrote it; and what is gone is told to be."""
    store = opened(tmp_path)
    store.following.begin()
    store.add_session(record())
    store.add_session(record("ses_b"))
    first = store.following.changed(ID, Mark())
    assert keys(first.frames) == ["row:sessions"]
    assert store.following.changed(ID, first.mark).frames == ()
    event = store.begin_event(EventRow(ID, NOW, 1, "run_repl", code="x"), session={"status": "running"})
    store.put_context(ID, b"text", "more")
    second = store.following.changed(ID, first.mark)
    assert keys(second.frames) == [f"row:events:{event}", "row:added_contexts:more", "row:sessions"]
    store.note_progress(event, 5, "out", "")
    store.complete_event(event, result_status="ok")
    store.put_context(ID, None, "more")
    third = store.following.changed(ID, second.mark)
    assert keys(third.frames) == ["-row:added_contexts:more", f"row:events:{event}"] or keys(third.frames) == [
        f"row:events:{event}",
        "-row:added_contexts:more",
    ]


def test_what_was_not_taken_comes_again(tmp_path: Path) -> None:
    """A mark is of what others have: as long as they do not have it, it changed."""
    store = opened(tmp_path)
    store.following.begin()
    store.add_session(record())
    assert keys(store.following.changed(ID, Mark()).frames) == ["row:sessions"]
    assert keys(store.following.changed(ID, Mark()).frames) == ["row:sessions"]


def test_a_store_that_was_not_followed_gives_all(tmp_path: Path) -> None:
    """So does one whose file was opened again: it knows nothing of what was given before."""
    store = opened(tmp_path)
    filled(store)
    found = store.following.changed(ID, Mark("of another connection", 1 << 40))
    assert {key.split(":")[1] for key in keys(found.frames)} >= {"contexts", "added_contexts", "events", "sessions"}
    assert keys(found.frames)[-1] == "row:sessions"
    assert store.following.changed(ID, found.mark).frames == ()


def test_many_rows_come_in_parts_and_the_sessions_own_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part has a bound, all of them together are everything, and they end."""
    monkeypatch.setattr(following, "ROWS_BYTES", 2_000)
    store = opened(tmp_path)
    store.following.begin()
    store.add_session(record())
    for index in range(20):
        store.add_event(EventRow(ID, NOW, index, "run_repl", stdout="x" * 500))
    mark, parts = Mark(), []
    while True:
        part = store.following.changed(ID, mark)
        parts.append(keys(part.frames))
        mark = part.mark
        if part.is_all:
            break
    assert [parts[-1][-1]] == [key for part in parts for key in part if key == "row:sessions"]
    assert len({key for part in parts for key in part}) == 21
    assert len(parts) > 5


def test_a_failed_disk_is_no_loss(tmp_path: Path) -> None:
    """While memory has what the disk does not take, that is given; and all, once the file is there again."""
    store = opened(tmp_path)
    store.following.begin()
    store.add_session(record())
    mark = store.following.changed(ID, Mark()).mark
    database = tmp_path / "one" / "sessions.db"
    path = next(iter((tmp_path / "one").glob("*.db")), database)
    path.rename(tmp_path / "away")
    store.add_event(EventRow(ID, NOW, 1, "run_repl"))
    found = store.following.changed(ID, mark)
    assert {key.split(":")[1] for key in keys(found.frames)} == {"events", "sessions"}


def carried(one: Store, other: Store, change: Callable[[str, bytes], bytes] = lambda key, body: body) -> None:
    found = one.following.changed(ID, Mark())
    frames = [(key, change(key, body)) for key, body in found.frames if body is not None]
    other.bringing.bring_in(ID, rows_of(frames, ID), lambda _: {}, lambda _: {})


def test_rows_are_the_same_there(tmp_path: Path) -> None:
    """Byte for byte, with texts that are no UTF-8, in place of what was there; and once more, the same again."""
    one, other = opened(tmp_path), opened(tmp_path, "other")
    filled(one)
    other.add_session(record(kind="documents"))
    other.add_event(EventRow(ID, NOW, 7, "run_repl"))
    other.add_session(record("ses_b"))
    for _ in range(2):
        carried(one, other)
        assert all_rows(other) == all_rows(one)
    assert other.session("ses_b") is not None


def test_what_the_row_says_here_has_its_checksum(tmp_path: Path) -> None:
    """A changed row reads as any other, and so does a step without an end; those that ended are as they were."""
    one, other = opened(tmp_path), opened(tmp_path, "other")
    filled(one)
    begun = one.begin_event(EventRow(ID, NOW, 2, "run_repl", code="y"))
    frames = [(key, body) for key, body in one.following.changed(ID, Mark()).frames if body is not None]
    changes = {"kernel_pid": 0, "extra": '{"kernel_gone": "why"}'}
    other.bringing.bring_in(ID, rows_of(frames, ID), lambda _: changes, lambda row: {"extra": f'["{row.step_index}"]'})
    found = other.session(ID)
    assert found is not None
    assert found.extra == '{"kernel_gone": "why"}'
    rows = {row.id: row for row in other.events(ID, None, None)}
    assert rows[begun].extra == '["2"]'
    assert [row.extra for row in rows.values() if row.id != begun] == [None]
    assert other.events(ID, None, None).damaged == 0


def test_ids_go_on_behind_those_of_every_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the clock of the node that had the session was an hour ahead."""
    one, other = opened(tmp_path), opened(tmp_path, "other")
    monkeypatch.setattr("time.time_ns", lambda: 2_000_000_000_000_000_000)
    filled(one)
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000_000_000_000_000)
    carried(one, other)
    lock = other.acquire(ID)
    assert lock is not None
    assert other.mint() > max(row[1] for row in all_rows(other)["seen"])
    lock.release()


DAMAGE: dict[str, Callable[[str, bytes], bytes]] = {
    "it is cut off": lambda _, body: body[:-1],
    "it is empty": lambda _, body: b"",
    "it has more": lambda _, body: body + b"x",
    "it is no JSON": lambda _, body: body[:4] + b"}" + body[5:],
    "its length is a lie": lambda _, body: b"\xff\xff\xff\xff" + body[4:],
    "it is of another session": lambda _, body: body.replace(b'"ses_a"', b'"ses_b"'),
    "it is of no table": lambda key, body: body.replace(b'"table": "', b'"table": "x'),
    "it has a column that is not known": lambda key, body: _renamed(key, body, "newer"),
    "it has a column that is none": lambda key, body: _renamed(key, body, 'a"); DROP TABLE sessions; --'),
    "a number is too large": lambda _, body: _with(body, depth=1 << 70),
    "a value is a list": lambda _, body: _with(body, depth=[[1]]),
    "a length is negative": lambda _, body: _with(body, depth=[-1]),
    "it is null where nothing may be": lambda _, body: _with(body, kind=None),
    "it is not what was checked": lambda _, body: _with(body, kind="other"),
}


def _with(body: bytes, **values: Any) -> bytes:
    size = int.from_bytes(body[:4], "big")
    head = json.loads(body[4 : 4 + size])
    if head["table"] == "sessions":
        head["row"] |= values
    said = json.dumps(head).encode()
    return len(said).to_bytes(4, "big") + said + body[4 + size :]


def _renamed(key: str, body: bytes, name: str) -> bytes:
    table, row = row_of(key, body, ID)
    return body_of(table, {name if column == "ts" else column: value for column, value in row.items()})


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    """Whatever it is: what was there before stays as it was."""
    one, other = opened(tmp_path), opened(tmp_path, "other")
    filled(one)
    other.add_session(record(kind="documents"))
    before = all_rows(other)
    with pytest.raises(StoreDamaged, match=rf"^What the shared store has of session {ID} cannot be taken over: "):
        carried(one, other, DAMAGE[kind])
    assert all_rows(other) == before


def test_rows_without_the_sessions_own_are_no_session(tmp_path: Path) -> None:
    """Nor is one row twice a session."""
    one, other = opened(tmp_path), opened(tmp_path, "other")
    filled(one)
    frames = [(key, body) for key, body in one.following.changed(ID, Mark()).frames if body is not None]
    for wrong in ([row for row in frames if row[0] != "row:sessions"], [*frames, frames[0]]):
        with pytest.raises(StoreDamaged):
            other.bringing.bring_in(ID, rows_of(wrong, ID), lambda _: {}, lambda _: {})
    assert all_rows(other) == {table: [] for table in KEYS}


def test_a_node_whose_disk_fails_takes_nothing_over(tmp_path: Path) -> None:
    """Memory is no place for what another node may give up then."""
    one, other = opened(tmp_path), opened(tmp_path, "other")
    filled(one)
    other.close()
    with pytest.raises(SessionBusy, match="cannot be taken over by this node"):
        carried(one, other)


def test_what_a_step_writes_is_read_without_a_thread(tmp_path: Path) -> None:
    """The same rows and mark as otherwise; what is large, or of another table, and all at the first time, are not."""
    store = opened(tmp_path)
    store.following.begin()
    filled(store)
    assert store.following.changed_at_once(ID, Mark()) is None
    mark = store.following.changed(ID, Mark()).mark
    event = store.begin_event(EventRow(ID, NOW, 2, "run_repl", code="x"), session={"status": "running"})
    store.complete_event(event, result_status="ok", stdout="some text")
    found = store.following.changed_at_once(ID, mark)
    assert found is not None
    assert keys(found.frames) == [f"row:events:{event}", "row:sessions"]
    assert found == store.following.changed(ID, mark)
    store.put_context(ID, b"small", "more")
    assert store.following.changed_at_once(ID, found.mark) is None
    mark = store.following.changed(ID, found.mark).mark
    store.add_event(EventRow(ID, NOW, 3, "run_repl", stdout="x" * 300_000))
    assert store.following.changed_at_once(ID, mark) is None
    assert len(store.following.changed(ID, mark).frames) == 1


def test_nobody_waits_on_the_loop_for_another_thread(tmp_path: Path) -> None:
    """While one writes, the rows are read in a thread."""
    store = opened(tmp_path)
    store.following.begin()
    store.add_session(record())
    found: list[object] = []

    def read(_: sqlite3.Connection) -> None:
        other = threading.Thread(target=lambda: found.append(store.following.changed_at_once(ID, Mark())))
        other.start()
        other.join()

    store._database.write(read)
    assert found == [None]


def test_notes_that_nobody_asks_for_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it all begins anew: whoever has rows of a session gets all of them once more."""
    monkeypatch.setattr(following, "NOTES_MAX", 20)
    monkeypatch.setattr(following, "NOTES_LOOKED_AT", 2)
    store = opened(tmp_path)
    store.following.begin()
    store.add_session(record())
    mark = store.following.changed(ID, Mark()).mark
    for index in range(30):
        store.add_event(EventRow("ses_child", NOW, index, "run_repl"))
    store.add_event(EventRow(ID, NOW, 1, "run_repl"))
    found = store.following.changed(ID, mark)
    assert [key.split(":")[1] for key in keys(found.frames)] == ["events", "sessions"]
    assert found.mark.generation != mark.generation
    assert store._database.read("SELECT count(*) FROM temp.changed") == [(2,)]
    assert store.following.changed(ID, found.mark).frames == ()
