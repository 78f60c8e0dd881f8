"""The documents of a context are found again page by page, and one of them by a character."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.store.maps import documents as documents_module
from rlm_kernel_mcp.store.maps.documents import DocumentsPage
from rlm_kernel_mcp.store.store import SessionRecord, Store
from tests.records import changed

NAMES: Final = ["a/ä.py", "empty", "b\ud800.txt", "a" * 4_000, "😀" * 1_000]
CHARS: Final = [10, 0, 5, 7, 3]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(documents_module, "PAGE_DOCUMENTS", 2)
    opened = Store.open(tmp_path)
    opened.add_session(SessionRecord("s_1", "2026-11-30T10:00:00.000Z", "text", "idle"))
    opened.documents.put("s_1", "context", NAMES, CHARS)
    yield opened
    opened.close()


def test_all_of_them_are_there_in_order(store: Store, tmp_path: Path) -> None:
    """Also for another process; whatever their names, and those of another context apart."""
    store.documents.put("s_1", "other", ["x"], [1])
    with closing(Store.open(tmp_path)) as other:
        assert other.documents.of("s_1", "context") == [
            DocumentsPage(0, tuple(NAMES[:2]), (10, 0)),
            DocumentsPage(10, tuple(NAMES[2:4]), (5, 7)),
            DocumentsPage(22, tuple(NAMES[4:]), (3,)),
        ]
        assert other.documents.damaged() == 0


@pytest.mark.parametrize(("char", "page"), [(0, 0), (9, 0), (10, 10), (21, 10), (22, 22), (24, 22)])
def test_a_character_is_in_one_page(store: Store, char: int, page: int) -> None:
    """Only that one is read."""
    assert [one.start for one in store.documents.of("s_1", "context", at=char)] == [page]


def test_behind_the_end_there_is_none(store: Store) -> None:
    """Nor in a context that there is not."""
    assert store.documents.of("s_1", "context", at=25) == store.documents.of("s_1", "none") == []


def test_a_context_that_is_loaded_again_has_its_new_documents(store: Store) -> None:
    """And none of those before."""
    store.documents.put("s_1", "context", ["only"], [4])
    assert store.documents.of("s_1", "context") == [DocumentsPage(0, ("only",), (4,))]


def test_names_that_are_long_take_more_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page can always be read: it has at least one."""
    monkeypatch.setattr(documents_module, "PAGE_NAMES_CHARS", 10)
    monkeypatch.setattr(documents_module, "PAGE_DOCUMENTS", 1_000)
    store.documents.put("s_1", "context", ["123456", "123456", "1234567890123", "1"], [1, 1, 1, 1])
    assert [len(page.names) for page in store.documents.of("s_1", "context")] == [2, 1, 1]


@pytest.mark.parametrize(
    "change",
    ["data = zeroblob(length(data))", "data = 'a text'", "start = start + 1", "chars = 'x'", "page_check = 0"],
)
def test_a_page_that_is_not_what_was_written_is_left_out(store: Store, tmp_path: Path, change: str) -> None:
    """The others are there."""
    changed(tmp_path, f"UPDATE context_documents SET {change} WHERE number = 1")
    assert [page.start for page in store.documents.of("s_1", "context")] == [0, 22]
    assert store.documents.damaged() == 1
    assert "1 page of documents" in list(store.faults())
