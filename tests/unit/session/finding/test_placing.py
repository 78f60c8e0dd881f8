"""What a reply delivered is found in the sources' own bytes, wherever a kernel says that it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.kernel.untrusted.exploring import use_of
from rlm_kernel_mcp.session.contexts.contexts import ContextList
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.evidence.passages import OpenDocument
from rlm_kernel_mcp.session.finding import placing
from rlm_kernel_mcp.session.finding.given import Given
from rlm_kernel_mcp.session.finding.placing import is_small, placed, places_of
from tests.unit.session.evidence.sources import contexts_of, files

LINES = [f"line {number}: größer als ein Byte, “quoted” and long enough to be known" for number in range(3_000)]
TEXT = "\r\n".join(LINES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (root := tmp_path / "root").mkdir()
    return root


def found(contexts: ContextList, reply: str, *shown: Any) -> dict[str, list[tuple[int, int]]]:
    """Places of a reply, as a kernel's rows say where to look."""
    rows = use_of({"shown": [list(row) for row in shown]}).shown
    return {name: ranges for name, ranges in placed(contexts, Given.of([reply]), rows).items() if ranges}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "ascii"])
def test_a_line_is_found_at_its_characters_whatever_its_encoding(root: Path, encoding: str) -> None:
    """In its context, that is, behind the documents before it."""
    text = TEXT.replace("“", "'").replace("”", "'") if encoding == "latin-1" else TEXT
    text = text.encode("ascii", "replace").decode() if encoding == "ascii" else text
    contexts = contexts_of(root, files(root, a="ähem\n".encode(), b=text.encode(encoding), c=b"end\n"))
    whole, at = "ähem\n" + text + "end\n", text.index("line 1999:")
    line = whole[5 + at :].partition("\r")[0]
    [(start, end)] = found(contexts, f"b.txt:2000: {line}", ("context", "b.txt", at + 2, at + 9))["context"]
    assert whole[start:end] == line
    assert start == 5 + at


def test_a_text_of_the_client_s_own_is_looked_at_too(root: Path) -> None:
    """Each context by its name; of a text there is one document."""
    contexts = contexts_of(root, ContextSource(text=TEXT), ContextSource(text=f"x\n{LINES[7]}", name="more"))
    at = TEXT.index(LINES[7])
    reply = LINES[7]
    places = found(contexts, reply, ("context", "context", at, at + 20), ("more", "more", 2, 9))
    assert places == {"context": [(at, at + len(reply))], "more": [(2, 2 + len(reply))]}


@pytest.mark.parametrize(
    "shown",
    [
        ("context", "a.txt", 0, 20),  # it stands elsewhere
        ("context", "b.txt", 0, 20),
        ("context", "a.txt\0a.txt", 0, 20),
        ("other", "a.txt", 0, 20),
        ("context", "../a.txt", 0, 20),
        ("context", "/etc/passwd", 0, 20),
        ("context", "a.txt", 10**15, 10**15 + 10),
        ("context", "a.txt", len(TEXT) - 5, len(TEXT) + 5),
        ("context", "", 0, 20),
        ("context", "\ud800", 0, 20),
    ],
)
def test_where_a_kernel_lies_nothing_is_found(root: Path, shown: tuple[str, str, int, int]) -> None:
    """What stands somewhere else did not stand there; and no other file is opened."""
    contexts = contexts_of(root, files(root, a=TEXT.encode()))
    assert found(contexts, LINES[1_234], shown) == {}


def test_a_file_that_was_replaced_is_not_taken_for_what_it_was(root: Path) -> None:
    """Nor one that is gone, or a link to another one; and one in other characters is only what stands there."""
    at = TEXT.index(LINES[9])
    shown, reply = ("context", "a.txt", at, at + 9), LINES[9]
    contexts = contexts_of(root, files(root, a=TEXT.encode()))
    path = root / "a.txt"
    assert found(contexts, reply, shown)
    path.write_bytes(TEXT.upper().encode())
    assert found(contexts, reply, shown) == {}
    path.write_bytes(TEXT.encode() + b"more")
    assert found(contexts, reply, shown) == {}
    path.unlink()
    assert found(contexts, reply, shown) == {}
    (root.parent / "outside").write_bytes(TEXT.encode())
    path.symlink_to(root.parent / "outside")
    assert found(contexts, reply, shown) == {}


def test_a_compressed_file_is_not_unpacked_for_it(root: Path) -> None:
    """Nothing is loaded again after a step."""
    contexts = contexts_of(root, files(root, a=TEXT.encode()))
    places = contexts.first.places
    assert places is not None
    places._paths[0] = str(root / "a.txt.gz")
    assert found(contexts, LINES[0], ("context", "a.txt", 0, 9)) == {}


def test_no_more_is_read_than_a_step_is_worth(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many places a kernel names, and however large they are."""
    read: list[int] = []
    contexts = contexts_of(root, files(root, a=(LINES[0] + "\n").encode() * 10_000))
    decoded = OpenDocument.text

    def noted(self: Any, *places: Any) -> str:
        read.append(len(text := decoded(self, *places)))
        return text

    monkeypatch.setattr(OpenDocument, "text", noted)
    found(contexts, LINES[1], *(("context", "a.txt", 1_000 * n, 1_000 * n + 99_999) for n in range(500)))
    assert 0 < sum(read) <= placing.READ_CHARS + 3 * placing.BESIDE_CHARS


def test_small_contexts_are_looked_through_without_a_word_of_the_kernel(root: Path) -> None:
    """Then what a step has printed of `context` itself is found too."""
    contexts = contexts_of(root, files(root, a=b"x\n", b="\n".join(LINES[:20]).encode()))
    assert is_small(contexts)
    reply = "\n".join(LINES[3:5])
    [(start, end)] = placed(contexts, Given.of([reply]), places_of(contexts))["context"]
    assert ("x\n" + "\n".join(LINES[:20]))[start:end] == reply
    assert not is_small(contexts_of(root, files(root, a=b"z" * (placing.SMALL_CHARS + 1))))
    assert not is_small(contexts_of(root, files(root, **{f"d{n}": b"z" for n in range(placing.SMALL_DOCUMENTS + 1)})))
