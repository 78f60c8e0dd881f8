"""The rows of child sessions: with their parents', and not for longer."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from rlm_kernel_mcp.store.database.file import FILE_NAME
from rlm_kernel_mcp.store.database.memory import Operation
from rlm_kernel_mcp.store.database.records import session_checks
from rlm_kernel_mcp.store.database.rows import check_of
from rlm_kernel_mcp.store.database.schema import MIGRATIONS, migrate
from rlm_kernel_mcp.store.paths import snapshot_files
from rlm_kernel_mcp.store.pruning import ABANDONED
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts, packed

NOW = "2026-11-22T10:00:00.000Z"
LONG_AGO = "2026-06-01T00:00:00.000Z"


def row(session_id: str, last_used_at: str = NOW, **fields: object) -> SessionRecord:
    made = SessionRecord(session_id, last_used_at, "text", "idle", last_used_at=last_used_at)
    return replace(made, **fields)  # type: ignore[arg-type]


def opened(path: Path, *records: SessionRecord) -> Store:
    """A store that a server left behind."""
    with closing(Store.open(path)) as store:
        for record in records:
            store.add_session(record)
    return Store.open(path)


def nothing(connection: object) -> None:
    """`Operation`."""
    del connection


def test_a_row_has_its_parent_under_its_checksum_and_one_without_is_as_before(tmp_path: Path) -> None:
    """A version before made the checksums of rows without these columns."""
    store = opened(tmp_path, row("s_1"), row("s_2", parent="s_1", depth=1))
    with closing(store):
        child, plain = store.session("s_2"), store.session("s_1")
        assert child is not None
        assert plain is not None
        assert ((child.parent, child.depth), (plain.parent, plain.depth)) == (("s_1", 1), (None, 0))
        store._database.write(lambda connection: nothing(connection.execute("UPDATE sessions SET parent = 's_9'")))
        assert list(store.faults()) == ["the record of 2 sessions"]


def test_what_a_session_is_for_is_under_its_checksum_and_rows_without_it_are_as_before(tmp_path: Path) -> None:
    """Of a version before there are rows without these columns, those of children among them."""
    asked = row("s_1", question="Which handlers swallow?\ud800", client="codex 1")
    known = (asked, row("s_2", parent="s_1", depth=1), row("s_3"), row("s_4", client="codex 1"))
    with closing(opened(tmp_path, *known)) as store:
        found = {one.session_id: (one.question, one.client) for one in store.sessions()}
        assert found == {
            "s_1": ("Which handlers swallow?\ud800", "codex 1"),
            "s_2": (None, None),
            "s_3": (None, None),
            "s_4": (None, "codex 1"),
        }
        assert list(store.faults()) == []
        store._database.write(lambda connection: nothing(connection.execute("UPDATE sessions SET client = 'other'")))
        assert list(store.faults()) == ["the record of 4 sessions"]


def test_a_server_of_before_that_has_the_store_open_knows_a_row_that_has_a_question(tmp_path: Path) -> None:
    """It makes its checksum of the columns that it has, and would call each new session damaged until it ends."""
    told, untold = row("s_1", question="Which?", client="codex 1"), row("s_1")
    with closing(opened(tmp_path, told)) as store:
        found = store._database.read("SELECT row_check FROM sessions")
    assert found == [(session_checks(untold)["row_check"],)]


def test_rows_of_the_version_before_are_whole_after_the_migration(tmp_path: Path) -> None:
    """Their checksums were made without the new columns: a plain session's, and a child's with its parent."""
    older = MIGRATIONS[:6]
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        migrate(connection, older)
        insert = "INSERT INTO sessions ({}, row_check) VALUES ({})"
        base: tuple[str, ...] = ("session_id", "created_at", "kind", "status", "limits", "context", "context_ref")
        base += ("walls", "counters", "server_pid", "kernel_pid", "connection_file", "last_used_at", "stop_reason")
        base += ("finish_reason", "finished_at", "extra")
        values = ("s_1", NOW, "text", "idle", "{}", "{}", "{}", "[]", "{}", 0, 0, "", NOW, None, None, None, None)
        plain, child = (base, values), ((*base, "parent", "depth"), ("s_2", *values[1:], "s_1", 1))
        for columns, written in (plain, child):
            marks = ", ".join("?" * (len(columns) + 1))
            connection.execute(insert.format(", ".join(columns), marks), (*written, check_of(written)))
    with closing(Store.open(tmp_path)) as store:
        assert list(store.faults()) == []
        assert {one.session_id: one.parent for one in store.sessions()} == {"s_1": None, "s_2": "s_1"}


def test_children_go_with_their_parent_and_never_before(tmp_path: Path) -> None:
    """Also those of children; the younger one keeps nothing, and the older one is not removed for its own age."""
    tree = (row("s_2", parent="s_1", depth=1), row("s_3", parent="s_2", depth=2))
    with closing(opened(tmp_path, row("s_1", LONG_AGO), *tree, row("s_4"))) as store:
        store.prune(NOW, max_age_days=30)
        assert [one.session_id for one in store.session_keys()] == ["s_4"]
    old = row("s_6", LONG_AGO, parent="s_5", depth=1, status="finalized")
    with closing(opened(tmp_path / "other", row("s_5"), old)) as store:
        store.prune(NOW, max_age_days=30)
        assert {one.session_id for one in store.session_keys()} == {"s_5", "s_6"}


def test_a_child_that_its_server_left_behind_is_ended_and_its_values_go(tmp_path: Path) -> None:
    children = (row("s_2", parent="s_1", depth=1), row("s_3", parent="s_1", depth=1))
    with closing(opened(tmp_path, row("s_1"), *children)) as store:
        lock = store.acquire("s_3")  # it is driven here
        assert lock is not None
        for path in snapshot_files(tmp_path, "s_2"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
        store.prune(NOW)
        found = {one.session_id: one for one in store.sessions()}
        assert [found[one].status for one in ("s_1", "s_2", "s_3")] == ["idle", "finalized", "idle"]
        assert (found["s_2"].finish_reason, json.loads(found["s_2"].extra or "")) == ("ended", {"ended": ABANDONED})
        assert not any(path.exists() for path in snapshot_files(tmp_path, "s_2"))
        lock.release()


def test_the_sums_of_a_session_have_those_of_its_children_once(tmp_path: Path) -> None:
    """The parent's row of a child's question repeats what the child has used."""
    children = (row("s_2", parent="s_1", depth=1), row("s_3", parent="s_2", depth=2))
    write: Operation = nothing
    asked = SubcallRow("", 1, NOW, 1, "mcp", 1, 1, attempts=1, tokens_in=10, tokens_out=1, usd=0.5)
    with closing(opened(tmp_path, row("s_1"), *children)) as store:
        of_child = replace(
            asked, session_id="s_1", kind="rlm", child_session="s_2", tokens_in=20, tokens_out=2, usd=1.0
        )
        for one in (of_child, replace(asked, session_id="s_2"), replace(asked, session_id="s_3")):
            store.subcalls.book(one.session_id, [(one, packed(Texts()))], write)
        assert store.subcalls.totals("s_1") == (3, 22, 1.0)
        assert store.subcalls.totals("s_2") == (2, 22, 1.0)
        assert store.subcalls.totals("s_3") == (1, 11, 0.5)
