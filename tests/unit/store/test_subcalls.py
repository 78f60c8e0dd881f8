"""Every question of a session has a row, which is as it was written or not there, and goes with its session."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.store import subcalls as subcalls_module
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.store.subcalls import BatchRow, SubcallRow, Texts, packed

NOW: Final = "2026-11-29T12:00:00.000+00:00"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    opened.add_session(SessionRecord("s_1", NOW, "text", "idle"))
    yield opened
    opened.close()


def row(number: int, **fields: Any) -> SubcallRow:
    whole: dict[str, Any] = {"session_id": "s_1", "id": number * 1_000_000_000, "ts": NOW, "step_index": 1}
    return SubcallRow(**(whole | {"source": "mcp", "batch": 1, "number": number} | fields))


def book(store: Store, *rows: SubcallRow, texts: Texts = Texts("p", "t", "a")) -> None:  # noqa: B008 (frozen)
    store.subcalls.book("s_1", [(one, packed(texts)) for one in rows], lambda connection: None)


def test_what_was_asked_and_answered_is_read_back_as_it_was(store: Store, tmp_path: Path) -> None:
    """Also by another process, and lone surrogates with it."""
    first = row(1, model_said="m-1", usd=0.25, tokens_in=7, tokens_out=3, text_chars=1, attempts=1)
    second = row(2, step_index=2, batch=5, error_code="budget", fate="failed")
    book(store, first, texts=Texts("prompt", "text \ud800", "answer"))
    book(store, second)
    other = Store.open(tmp_path)
    assert other.subcalls.rows("s_1") == [first, second]
    assert other.subcalls.rows("s_1", 2, 2) == other.subcalls.rows("s_1", batch=5) == [second]
    assert other.subcalls.texts("s_1", first.id) == Texts("prompt", "text \ud800", "answer")
    assert other.subcalls.texts("s_1", 99) == Texts()
    assert other.subcalls.totals("s_1") == (1, 10, 0.25)
    other.close()


def test_a_checksum_is_what_earlier_versions_have_written(store: Store, tmp_path: Path) -> None:
    """Else every row of theirs would be said to be damaged."""
    one = row(1, model_said="m-1 \ud800 é", usd=0.25, tokens_in=7, tokens_out=3, text_chars=1, attempts=1)
    store.subcalls.book("s_1", [(one, b"its texts")], lambda connection: None)
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        assert connection.execute("SELECT row_check FROM subcalls").fetchall() == [(2_053_504_969,)]


def test_what_was_asked_together_is_told_of_as_one(store: Store) -> None:
    """Each question counts once, and what came too late counts for its cost alone."""
    book(
        store,
        row(1, tokens_in=10, tokens_out=2, duration_ms=600, queued_ms=200, usd=0.5, fate="answered"),
        row(2, fate="duplicate", duplicate_of=1),
        row(3, fate="cached"),
        row(4, fate="failed", error_code="stopped"),
        row(5, fate="late", error_code="stopped", tokens_in=3),
        row(6, fate="answered", error_code="schema", has_schema=1),
        row(7, batch=2, fate="failed", error_code="budget"),
    )
    first, second = store.subcalls.batches("s_1")
    whole = BatchRow(1, "mcp", 1, NOW, 5, 1, 1, 1, first.failed, 13, 2, 0.5, 5_800)
    assert (first, dict(first.failed)) == (whole, {"stopped": 1, "schema": 1})
    assert (second.asked, dict(second.failed)) == (1, {"budget": 1})


def test_an_answer_that_turned_out_not_to_have_its_schema_says_so(store: Store) -> None:
    """Its row is no less intact for it."""
    book(store, row(1, has_schema=1))
    store.subcalls.note_missed("s_1", [row(1).id])
    found = store.subcalls.rows("s_1")
    assert ([one.error_code for one in found], found.damaged) == (["schema"], 0)


def test_a_row_that_has_changed_on_the_disk_is_left_out_and_doctor_counts_it(store: Store, tmp_path: Path) -> None:
    """A number of tokens that nobody wrote is no number."""
    book(store, row(1), row(2))
    with sqlite3.connect(tmp_path / "sessions.db") as connection:
        connection.execute("UPDATE subcalls SET tokens_in = 5 WHERE number = 2")
        connection.execute("UPDATE subcalls SET texts = X'00' WHERE number = 1")
    connection.close()
    found = store.subcalls.rows("s_1")
    assert ([one.number for one in found], found.damaged) == ([1], 1)
    assert store.subcalls.texts("s_1", row(1).id) == Texts()
    assert list(store.faults()) == ["1 question"]


def test_texts_are_kept_as_long_as_the_session_has_room(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then sizes and hashes alone; a server that comes later counts what is there."""
    size = len(packed(Texts("p", "t", "a")))
    monkeypatch.setattr(subcalls_module, "SESSION_BYTES", size * 2)
    book(store, row(1), row(2), row(3, text_chars=5))
    assert store.subcalls.texts("s_1", row(2).id) == Texts("p", "t", "a")
    assert store.subcalls.texts("s_1", row(3).id) == Texts()
    assert store.subcalls.rows("s_1")[2].text_chars == 5
    other = Store.open(tmp_path)
    book(other, row(4))
    assert other.subcalls.texts("s_1", row(4).id) == Texts()
    other.close()


def test_a_session_that_is_removed_takes_its_questions_along(store: Store) -> None:
    """Whether it came to nothing or grew too old."""
    book(store, *map(row, range(1, 200)))
    store.let_go("s_1")
    store.prune("2027-03-01T00:00:00.000+00:00")
    assert (store.subcalls.rows("s_1"), store.session("s_1")) == ([], None)
    book(store, row(1))
    store.remove_session("s_1")
    assert store.subcalls.rows("s_1") == []


def test_where_the_store_is_replaced_under_the_server_what_comes_then_is_kept(store: Store, tmp_path: Path) -> None:
    """As it is of steps."""
    book(store, row(1))
    (tmp_path / "sessions.db").unlink()
    book(store, row(2))
    assert [one.number for one in store.subcalls.rows("s_1")][-1] == 2
