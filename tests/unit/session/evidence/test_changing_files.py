"""A source that is changed before or while it is checked: that is told, and what was there alone is verified."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_kernel_mcp.context_wire import Claim
from rlm_kernel_mcp.session.contexts import changes
from rlm_kernel_mcp.session.contexts.contexts import ContextList
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.evidence.marks import marks_of
from rlm_kernel_mcp.session.evidence.sought import Limits
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook
from rlm_kernel_mcp.session.kernels.loading import NobodyWaits
from tests.unit.session.evidence.changing import FATES, STILL_FILES, Reads, overwritten, versions, what_is_wrong
from tests.unit.session.evidence.sources import checked, contexts_of, files

Fate = Callable[[Path], None]
EACH = 9
"""How many reads lie between two at which something befalls the file."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The only directory that may be read."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def text_of(lines: int) -> str:
    rng = random.Random("changing")
    words = "orders stock market harbour rain table engine river letter winter garden".split()  # noqa: SIM905
    return "".join(f"{number} {' '.join(rng.choices(words, k=6))} {rng.random()}\n" for number in range(lines))


def loaded(root: Path, text: str) -> tuple[ContextList, EvidenceBook]:
    """It, and a claim of four of its lines."""
    book, place, lines = EvidenceBook(), 0, text.splitlines(keepends=True)
    claims = list[Claim]()
    for number, line in enumerate(lines):
        if number % (len(lines) // 4) == 7:
            sha256 = hashlib.sha256(line[:-1].encode()).hexdigest()
            end = place + len(line) - 1
            claims.append(Claim(len(claims) + 1, "context", "a.txt", place, end, sha256, line[:-1]))
        place += len(line)
    book.take(claims)
    return contexts_of(root, files(root, a=text.encode())), book


def quotes_of(text: str) -> list[Quote]:
    """Four lines."""
    lines = text.splitlines()
    return [Quote(lines[number]) for number in range(5, len(lines), len(lines) // 4 + 1)]


@pytest.mark.parametrize("fate", FATES)
def test_a_file_that_became_something_else_verifies_nothing_that_is_not_there(root: Path, fate: Fate) -> None:
    """Before the check: a pipe, a device, a link to the same bytes elsewhere, a hole of a terabyte hold nobody up."""
    text = text_of(1_000)
    contexts, book = loaded(root, text)
    quotes = quotes_of(text)
    fate(root / "a.txt")
    result = checked(contexts, *quotes, book=book, marks=tuple(book.claims))
    now = versions(b"", root / "a.txt")[1:] if fate in STILL_FILES else []
    problems = [what_is_wrong(one, None, now) for one in result.citations]
    assert not any(problems), problems
    assert result.coverage.changed
    assert {one.status for one in result.failed} <= {"changed"}
    passes = len(result.failed) < len(result.citations)
    assert passes == (fate in STILL_FILES and fate.__name__ != "emptied")


@pytest.mark.parametrize("fate", FATES)
def test_a_file_that_changes_while_a_check_reads_it_is_reported(root: Path, fate: Fate) -> None:
    """What passes was there, before or after; what does not says that the file has changed. The soak takes all."""
    text = text_of(1_000)
    path = root / "a.txt"
    contexts, book = loaded(root, text)
    quotes = [*quotes_of(text), Quote("nothing of all this")]
    with Reads().counted() as reads:
        checked(contexts, *quotes, book=book, marks=tuple(book.claims))
    assert len(reads.sizes) > 2 * EACH
    for at in range(0, len(reads.sizes), EACH):
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        contexts, book = loaded(root, text)
        with Reads(fate, path, at).counted():
            result = checked(contexts, *quotes, book=book, marks=tuple(book.claims))
        contents = versions(text.encode(), path)
        given = [*(None for _ in book.claims), *quotes]
        problems = [what_is_wrong(one, quote, contents) for one, quote in zip(result.citations, given, strict=True)]
        assert not any(problems), (at, problems)
        assert {one.status for one in result.citations[:-1] if not one.passes} <= {"changed"}, at
        assert not result.citations[-1].passes


def test_what_is_written_while_a_mark_is_read_is_not_taken_for_what_was_cited(root: Path) -> None:
    """The file was as it was loaded when it was opened: that says nothing of the bytes that are read then."""
    contexts, book = loaded(root, text_of(1_000))
    with Reads(overwritten, root / "a.txt", at=0).counted():
        result = checked(contexts, book=book, marks=(1,))
    assert [one.status for one in result.citations] == ["changed"]
    assert result.coverage.changed


@pytest.mark.parametrize("fate", [overwritten, None])
def test_of_a_file_that_nobody_looks_after_a_mark_has_the_text_that_was_cited(
    root: Path, fate: Fate | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a very large context only the first files are looked after; of the others the size says nothing."""
    monkeypatch.setattr(changes, "MARKS_MAX", 0)
    contexts, book = loaded(root, text_of(1_000))
    if fate is not None:
        fate(root / "a.txt")
    result = checked(contexts, book=book, marks=tuple(book.claims))
    data = (root / "a.txt").read_bytes().decode()
    is_there = [data[one.start : one.end] == one.text for one in book.claims.values()]
    assert all(is_there) == (fate is None)
    assert [one.status for one in result.citations] == ["verified" if one else "changed" for one in is_there]
    assert result.coverage.changed == (fate is not None)


def test_a_large_file_is_looked_at_again_after_it_was_read(root: Path) -> None:
    """A session that was opened again reads one in its place, as a context is read: that is no copy."""
    path = root / "a.txt"
    for at in (-2, -1):
        text = text_of(1_000)
        contexts, book = loaded(root, text)
        contexts.first.places = None
        with Reads().counted() as reads:
            checked(contexts, book=book, marks=(1,))
        contexts, book = loaded(root, text)
        contexts.first.places = None
        with Reads(overwritten, path, len(reads.sizes) + at).counted():
            result = checked(contexts, book=book, marks=(1,))
        assert [one.status for one in result.citations] == ["changed"], at
        assert result.coverage.changed


def test_a_file_that_has_grown_is_read_no_longer_than_somebody_waits(root: Path) -> None:
    """All of one that has changed is read to be counted, which takes as long as it is large."""
    contexts, book = loaded(root, text_of(100))
    os.truncate(root / "a.txt", 8 << 30)
    left = [40]

    def check_cancelled() -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise NobodyWaits

    with Reads().counted() as reads, pytest.raises(NobodyWaits):
        checked(contexts, book=book, marks=(1,), limits=Limits(check_cancelled=check_cancelled))
    assert len(reads.sizes) < 40


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("[c1] [c01] [c2][c1]", [1, 2]),
        ("[c0] and [c00]", [0]),
        ("[c1234567890]", [1234567890]),
        pytest.param(f"[c{'9' * 5_000}]", [int("9" * 18)], id="5,000 digits"),
        pytest.param(f"[c{'0' * 400_000}7] [c{'0' * 400_000}", [7], id="400,000 noughts"),
        ("[c\u0661] [c-1] [c 1] [c1.0] [C1] [cx] [c]", []),
        ("[c3, c4] [c5,c6;c4] [ c7 ] [c8 c9,] [c10\u3001c11] [c12,\nc13]", [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
        (
            "[c\uff11] \uff3bc2\uff3d [\U0001d41c\U0001d7d1] [\u24d2\u2463] [c\u00a05] [c6\uff0c\xa0\uff437]",
            [1, 2, 3, 4, 6, 7],
        ),
        ("[c\xad1] [c\u200d2] [\u200cc3] [c4\ufe0f] [c5\ufe0f\u20e3] [c\u034f6]", [1, 2, 3, 4, 5, 6]),
        ("[\u04411] [\u03f22] [\u2ca53] [\U0001043d4, c5]", [1, 2, 3, 4, 5]),
        ("[see c1] [c1-c2] [c1, x] [, c1] (c1) [c1 [c2] \u56f31] [\u56f31] [\xe91] [[c4]]", [2, 4]),
        pytest.param("[" + "e\u0315\u0301" * 100_000 + "\ufdfa" * 100_000 + "]", [], id="accents and ligatures"),
        pytest.param("[c" + "1 c1" * 100_000 + "x]" + "[c" * 100_000 + "[\u56f3]" * 100_000, [], id="long, and none"),
    ],
)
def test_whatever_looks_like_a_mark_is_one(answer: str, numbers: list[int]) -> None:
    """Also one of a number that no citation can have: it is not there, and so the answer is refused."""
    assert marks_of(answer) == numbers
