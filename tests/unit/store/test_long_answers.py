"""A long answer lies in the store page by page: read as it was written, or known to be damaged."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.store.database.schema import MIGRATIONS, migrate, version_of
from rlm_kernel_mcp.store.long_answers import BATCH_BYTES, PAGE_BYTES_MAX, PagedText
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from tests.records import changed

NOW = "2026-11-29T10:00:00.000Z"
PAGES = ("first ", "zweite Größe ", "", "😀 third\n", "\ud800\udfff", "end")
WHOLE = "".join(PAGES)


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def written(store: Store, session_id: str = "s_1", pages: tuple[str, ...] = PAGES) -> PagedText:
    """A long answer, whose session does not know of it yet."""
    new = store.long_answers.begin(session_id, store.mint())
    assert all(new.add(utf8(page), len(page)) for page in pages)
    answer = new.end()
    assert answer is not None
    return answer


def finalized(store: Store, session_id: str = "s_1") -> PagedText:
    """The same, taken."""
    answer = written(store, session_id)
    store.update_session(session_id, status="finalized", extra=json.dumps(answer.recorded()))
    store.add_final(EventRow(session_id, NOW, 3, "finalize", result_status="completed"), answer)
    return answer


def test_a_long_answer_is_read_as_it_was_written(store: Store, tmp_path: Path) -> None:
    """By another server too: whole, by characters, by bytes, and by pages."""
    finalized(store)
    other = Store.open(tmp_path)
    answer = other.final_answer("s_1")
    assert isinstance(answer, PagedText)
    assert (len(answer), answer.size_bytes) == (len(WHOLE), len(utf8(WHOLE)))
    assert tuple(answer.pages()) == PAGES
    for start in range(len(WHOLE) + 2):
        for end in range(len(WHOLE) + 2):
            assert answer.part(start, end) == WHOLE[start:end]
    data = utf8(WHOLE)
    for start in range(len(data) + 1):
        assert answer.utf8[start:] == data[start:]
        assert answer.utf8[start : start + 7] == data[start : start + 7]
    assert [answer.utf8[at] for at in range(len(data))] == list(data)
    assert other.long_answers.is_whole(answer)
    other.close()


def test_its_event_and_its_session_s_row_hold_none_of_it(store: Store, tmp_path: Path) -> None:
    """It is kept once; the event has its size, and its text page by page."""
    answer = finalized(store)
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        assert connection.execute("SELECT final_answer FROM sessions").fetchall() == [(None,)]
        assert connection.execute("SELECT result, text_bytes FROM events").fetchall() == [(None, answer.size_bytes)]
    (head,) = store.heads("s_1")
    texts = store.texts(head)
    assert texts is not None
    result = texts["result"]
    assert result is not None
    assert result[:] == utf8(WHOLE)
    (event,) = store.events("s_1")
    assert (event.result_status, event.result) == ("completed", None)
    assert list(store.faults()) == []


def test_a_short_answer_beside_pages_of_nobody_s_is_the_answer(store: Store) -> None:
    """They are of a long one that was refused, or whose server was killed."""
    written(store)
    store.update_session("s_1", status="finalized", final_answer="short")
    assert store.final_answer("s_1") == "short"
    assert list(store.faults()) == []


DAMAGES = {
    "a byte": "UPDATE answer_pages SET data = zeroblob(length(data)) WHERE number = 1",
    "a page is gone": "DELETE FROM answer_pages WHERE number = 1",
    "the last page is gone": "DELETE FROM answer_pages WHERE number = 5",
    "a page has another number": "UPDATE answer_pages SET number = CASE number WHEN 0 THEN 9 ELSE number END",
    "another size": "UPDATE answer_pages SET bytes = bytes + 1 WHERE number = 1",
    "a size that is none": "UPDATE answer_pages SET bytes = 'x' WHERE number = 1",
    "a text for its bytes": "UPDATE answer_pages SET data = 'x' WHERE number = 1",
    "another checksum": "UPDATE answer_pages SET page_check = page_check + 1 WHERE number = 1",
}


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_noticed_by_whoever_reads_what_it_is_in(store: Store, tmp_path: Path, statement: str) -> None:
    """And by `doctor`, which reads everything."""
    finalized(store)
    changed(tmp_path, statement)
    answer = store.final_answer("s_1")
    assert isinstance(answer, PagedText)
    with pytest.raises(SessionNotFound, match="s_1 in the store is damaged"):
        answer.part(0, len(WHOLE))
    assert not store.long_answers.is_whole(answer)
    assert list(store.faults()) == ["the final answer of session s_1"]


def test_what_is_before_a_damaged_page_can_be_read(store: Store, tmp_path: Path) -> None:
    """Each page is checked for itself."""
    finalized(store)
    changed(tmp_path, DAMAGES["a byte"])
    answer = store.final_answer("s_1")
    assert isinstance(answer, PagedText)
    assert answer.part(0, len(PAGES[0])) == PAGES[0]


def test_no_more_is_unpacked_than_a_page_has(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that was replaced by one that unpacks to far more."""
    finalized(store)
    bomb = zlib.compress(bytes(8 << 20))
    changed(tmp_path, "UPDATE answer_pages SET data = ? WHERE number = 1", bomb)
    unpacked = list[int]()
    unpacker = zlib.decompressobj

    class Counting:
        def __init__(self) -> None:
            self._inner = unpacker()

        def decompress(self, data: bytes, most: int) -> bytes:
            found = self._inner.decompress(data, most)
            unpacked.append(len(found))
            return found

        @property
        def eof(self) -> bool:
            return self._inner.eof

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    answer = store.final_answer("s_1")
    assert isinstance(answer, PagedText)
    with pytest.raises(SessionNotFound):
        answer.part(0, len(WHOLE))
    assert max(unpacked) <= len(utf8(PAGES[1])) + 1
    changed(tmp_path, "UPDATE answer_pages SET bytes = ? WHERE number = 1", PAGE_BYTES_MAX + 1)
    assert not store.long_answers.is_whole(PagedText(store._database, *answer._key, len(answer), answer.size_bytes))


def test_an_answer_that_is_not_taken_leaves_nothing(store: Store, tmp_path: Path) -> None:
    """However many pages it has, and wherever it was broken off; another answer of the session stays."""
    kept = finalized(store)
    for pages in (("x" * 1_000,) * 40, ("y",)):
        written(store, pages=pages).remove()
    new = store.long_answers.begin("s_1", store.mint())
    new.add(b"half", 4)
    new.remove()
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        assert connection.execute("SELECT count(*) FROM answer_pages").fetchall() == [(len(PAGES),)]
    assert store.long_answers.is_whole(kept)


def test_pages_are_written_a_few_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait for each transaction, and all that is not written is in memory."""
    monkeypatch.setattr("rlm_kernel_mcp.store.long_answers.BATCH_BYTES", 3_000)
    sizes = list[int]()
    write = store._database.write

    def counting(operation: Any, size_bytes: int = 0) -> bool:
        sizes.append(size_bytes)
        return write(operation, size_bytes)

    monkeypatch.setattr(store._database, "write", counting)
    pages = tuple("".join(chr(at * 7_919 % 50_000 + 100) for at in range(n, n + 500)) for n in range(20))
    answer = written(store, pages=pages)
    assert len(sizes) > 5
    assert max(sizes) < 3_000 + 2_000
    assert "".join(answer.pages()) == "".join(pages)
    assert BATCH_BYTES < 8 << 20


def test_a_disk_that_fails_keeps_no_part_of_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory it would be lost with the server, and drive out what others wait to have kept."""
    new = store.long_answers.begin("s_1", store.mint())

    def fails(_connection: sqlite3.Connection, _statement: str = "") -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(type(store._database), "_open_disk", fails)
    monkeypatch.setattr(type(store._database), "return_to_disk", lambda _self: False)
    new.add(b"some", 4)
    assert new.end() is None
    new.remove()
    assert store._database.read("SELECT count(*) FROM answer_pages")[-1] == (0,)


def test_a_disk_that_an_answer_has_filled_is_free_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that were written before it was full would keep it full, and everybody's record in memory."""
    monkeypatch.setattr("rlm_kernel_mcp.store.long_answers.BATCH_BYTES", 1)
    new = store.long_answers.begin("s_1", store.mint())
    assert all(new.add(utf8(page), len(page)) for page in PAGES)

    def is_full(_database: Any) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(type(store._database), "_open_disk", is_full)
        assert not new.add(b"one more", 8)
        store.update_session("s_1", status="stopped")
    problem = store.problem
    new.remove()
    assert (problem is None, store.problem) == (False, None)
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        assert connection.execute("SELECT count(*) FROM answer_pages").fetchall() == [(0,)]
        assert connection.execute("SELECT status FROM sessions").fetchall() == [("stopped",)]


def test_pages_go_with_their_session(store: Store, tmp_path: Path) -> None:
    """With one that is too old, and with one that came to nothing."""
    store.add_session(SessionRecord("s_old", NOW, "text", "finalized", last_used_at="2026-01-01T00:00:00Z"))
    finalized(store, "s_old")
    written(store, "s_old")
    kept = finalized(store)
    other = Store.open(tmp_path)
    other.prune(NOW, max_age_days=30)
    rows = other._database.read("SELECT DISTINCT session_id FROM answer_pages")
    assert rows == [("s_1",)]
    assert other.long_answers.is_whole(kept)
    other.remove_session("s_1")
    assert other._database.read("SELECT count(*) FROM answer_pages") == [(0,)]
    other.close()


def test_a_store_of_the_version_before_gets_room_for_pages(tmp_path: Path) -> None:
    """With all that is in it."""
    with closing(sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:4])
        connection.execute(
            "INSERT INTO sessions VALUES ('s_1', ?, 'text', 'finalized', '{}', '{}', '{}', '[]', '{}', 0, 0, '', ?, "
            "NULL, 'short', 'completed', ?, NULL, NULL, NULL)",
            (NOW, NOW, NOW),
        )
    store = Store.open(tmp_path)
    assert store.problem is None
    assert store.final_answer("s_1") == "short"
    written(store)
    store.close()
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        assert version_of(connection) == len(MIGRATIONS) >= 5


@pytest.mark.parametrize("extra", [None, "", "[]", "5", "{}", '{"long_answer": 5}', '{"long_answer": [1]}', "{"])
def test_a_row_that_names_no_long_answer_has_none(store: Store, extra: str | None) -> None:
    """Whatever else stands there."""
    record = store.session("s_1")
    assert record is not None
    assert store.long_answers.of(replace(record, extra=extra)) is None
