"""The marks of an answer, many in one file: each is looked up where it lies, and the file is read once for all."""

from __future__ import annotations

import hashlib
import itertools
import random
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.context_wire import BLOCK_BYTES, Claim
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.evidence import marks
from rlm_kernel_mcp.session.evidence.marks import marks_of, spellings
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook
from tests.unit.session.evidence.changing import Reads
from tests.unit.session.evidence.sources import checked, contexts_of, files

COUNT: Final = 400
LINE: Final = "the size of it, and a little more"


@pytest.mark.parametrize(
    "line", [LINE, "die Gr\xf6\xdfe \u4e2d\U0001f680 davon, und noch mehr"], ids=["ASCII", "not ASCII"]
)
def test_many_marks_in_one_file_read_each_part_of_it_once(tmp_path: Path, line: str) -> None:
    """Whatever their order, also where one goes from one part to the next; each has its bytes and lines."""
    text = "".join(f"{number} {line}\n" for number in range(8_000))
    rng, root = random.Random("marks"), tmp_path / "root"
    starts = [rng.randrange(len(text) - 300) for _ in range(COUNT)]
    rows = [(start, start + rng.randrange(1, 300)) for start in starts]
    digests = [hashlib.sha256(text[first:last].encode()).hexdigest() for first, last in rows]
    book = EvidenceBook()
    book.take(
        [Claim(at, "context", "a.txt", *row, digests[at - 1], text[slice(*row)]) for at, row in enumerate(rows, 1)]
    )
    root.mkdir()
    contexts = contexts_of(root, files(root, a=text.encode()))
    with Reads().counted() as reads:
        result = checked(contexts, book=book, marks=tuple(book.claims))
    blocks = -(-len(text.encode()) // BLOCK_BYTES)
    assert blocks > 4
    # Once to be counted, since it is small and no loader has done that, and once for the marks.
    assert sum(size > BLOCK_BYTES // 2 for size in reads.sizes) <= 2 * blocks
    assert [one.id for one in result.citations] == [f"c{number}" for number in range(1, COUNT + 1)]
    for one, (first, last), digest in zip(result.citations, rows, digests, strict=True):
        assert one.status == "verified"
        passage = one.passage
        assert passage is not None
        assert (passage.start_char, passage.end_char, passage.sha256) == (first, last, digest)
        assert (passage.start_byte, passage.end_byte) == (len(text[:first].encode()), len(text[:last].encode()))
        assert passage.start_line == 1 + text.count("\n", 0, first)


PIECES: Final = st.sampled_from(
    ["[", "]", "\uff3b", "\ufe48", "c", "1", "23", ", ", ";", " ", "\u200b", "\u0301", "\uff11", "x", "\xe9", "\0"]
)


@given(st.lists(PIECES, max_size=60).map("".join), st.lists(st.integers(0, 12), max_size=20))
def test_wherever_a_long_answer_s_pages_end_its_marks_are_those_of_the_whole(text: str, sizes: list[int]) -> None:
    """Also in the middle of one, and however it is written."""
    pages, at = [], 0
    for size in sizes:
        pages.append(text[at : at + size])
        at += size
    pages.append(text[at:])
    assert marks_of(pages) == marks_of(text)
    assert spellings(pages) == spellings(text)


def test_a_bracket_that_no_mark_can_come_of_holds_nothing() -> None:
    """One bracket, and millions of characters behind it, page by page."""
    pages = ["[c1] [c2", *["x" * 300_000] * 20, "[c3]", "[c4", " ,c5]"]
    assert marks_of(pages) == [1, 3, 4, 5]


@pytest.mark.parametrize("filling", [" ", "\u200b", "c1,"], ids=["spaces", "what shows nothing", "marks"])
def test_a_mark_that_does_not_end_is_refused(filling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be one, for a reader, and is held until that is known: not for ever."""
    monkeypatch.setattr(marks, "BRACKETS_CHARS_MAX", 10_000)
    page = filling * (3_000 // len(filling))
    with pytest.raises(InvalidInput, match="at most 10,000 are looked at"):
        marks_of(["[c1 ", *[page] * 5, "]"])
    assert 1 in marks_of(["[c1 ", *[page] * 2, "c1]"])


def test_no_more_marks_are_gathered_than_are_asked_for() -> None:
    """A long answer may have millions."""
    assert marks_of((f"[c{number}]" for number in itertools.count(1)), 7) == [1, 2, 3, 4, 5, 6, 7]
