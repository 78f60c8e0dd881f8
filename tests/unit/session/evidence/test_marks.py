"""The marks of an answer, many in one file: each is looked up where it lies, and the file is read once for all."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.context_wire import BLOCK_BYTES, Claim
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
