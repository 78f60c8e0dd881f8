"""Long texts come as their two ends, or piece by piece, and no cut parts a letter from its marks."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.long_answers import LongAnswers, PagedText
from rlm_kernel_mcp.watching.messages.events import HEAD_CHARS, TAIL_CHARS
from rlm_kernel_mcp.watching.record.texts import RUN_CHARS, cut, lines_of, piece, shown_text

MARK = "\u0301"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def test_a_short_text_is_all_there() -> None:
    assert shown_text(b"two\nlines") == {"text": "two\nlines", "chars": 9, "lines": 2}


@pytest.mark.parametrize("stored", [None, b""])
def test_where_there_is_no_text_there_is_none(stored: bytes | None) -> None:
    assert shown_text(stored) is None


def test_of_a_long_text_the_two_ends_come_and_how_much_lies_between() -> None:
    text = "".join(f"line {number}\n" for number in range(10_000))
    found = cut(text)
    assert found["text"] == text[:HEAD_CHARS]
    assert found["tail"] == text[-TAIL_CHARS:]
    assert found["chars"] == len(text) == len(found["text"]) + found["cut"] + len(found["tail"])
    assert found["lines"] == 10_000


@pytest.mark.parametrize("cluster", ["e" + MARK * 3, FAMILY, "\r\n"], ids=["marks", "joined", "line-end"])
def test_no_end_begins_or_stops_within_what_belongs_together(cluster: str) -> None:
    for shift in range(len(cluster)):
        found = cut("x" * shift + cluster * HEAD_CHARS)
        inner = found["text"][shift:]
        assert inner == cluster * (len(inner) // len(cluster))
        assert found["tail"] == cluster * (len(found["tail"]) // len(cluster))


def test_a_run_of_marks_that_is_longer_than_a_message_is_cut_all_the_same() -> None:
    found = cut("e" + MARK * (HEAD_CHARS + 2 * RUN_CHARS))
    assert len(found["text"]) <= HEAD_CHARS
    assert len(found["text"]) + found["cut"] + len(found["tail"]) == found["chars"]


def test_lone_surrogates_pass() -> None:
    found = shown_text("a\ud800b".encode("utf-8", "surrogatepass"))
    assert found is not None
    assert found["text"] == "a\ud800b"


@pytest.mark.parametrize(("text", "count"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)])
def test_lines_are_counted_whether_the_last_one_ends_or_not(text: str, count: int) -> None:
    assert lines_of(text) == count


@given(
    st.text(alphabet=st.sampled_from(["a", "é", MARK, "\u200d", "\r", "\n", "\ud800", "\U0001f468"])), st.integers(1, 9)
)
def test_pieces_put_together_are_the_text(text: str, most: int) -> None:
    data, at, found = text.encode("utf-8", "surrogatepass"), 0, ""
    while True:
        part = piece(data, at, most)
        assert part["chars"] == len(text)
        assert part["from"] == at
        found += part["text"]
        if part["next"] is None:
            break
        assert part["next"] > at
        at = part["next"]
    assert found == text


def test_a_piece_does_not_begin_with_a_mark() -> None:
    text = ("e" + MARK * 4) * 20_000
    at: int | None = 0
    while at is not None:
        part = piece(text.encode(), at)
        assert not unicodedata.combining(part["text"][0])
        at = part["next"]


def test_behind_the_end_of_a_text_is_nothing() -> None:
    assert piece(b"abc", 7) == {"text": "", "from": 7, "next": None, "chars": 3}
    assert piece(None, 0) == {"text": "", "from": 0, "next": None, "chars": 0}


@pytest.fixture
def answer(tmp_path: Path) -> PagedText:
    """An answer in pages, of 3,000,000 characters."""
    database = Database(tmp_path, lambda connection: None)
    new = LongAnswers(database).begin("s_1", 1)
    for page in ("é" * 500_000, "b" * 1_000_000, "c" * 1_000_000, "d" * 500_000):
        new.add(page.encode(), len(page))
    found = new.end()
    assert found is not None
    return found


def test_an_answer_in_pages_comes_as_its_ends_and_piece_by_piece(answer: PagedText) -> None:
    found = shown_text(answer.utf8)
    assert found is not None
    assert (found["text"], found["tail"]) == ("é" * HEAD_CHARS, "d" * TAIL_CHARS)
    assert found["chars"] == 3_000_000 == HEAD_CHARS + TAIL_CHARS + found["cut"]
    part = piece(answer.utf8, 499_999, 3)
    assert part == {"text": "ébb", "from": 499_999, "next": 500_002, "chars": 3_000_000}
