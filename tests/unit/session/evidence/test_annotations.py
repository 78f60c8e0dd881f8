"""What an answer cites, as W3C selectors: each leads back to the same bytes of its source, whatever they are."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from rlm_kernel_mcp.context_wire import Claim
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.evidence.annotations import annotations_of
from rlm_kernel_mcp.session.evidence.citations import EXACT_EACH, Checked, within_room
from rlm_kernel_mcp.session.evidence.documents import Documents
from rlm_kernel_mcp.session.evidence.marks import marks_of
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook
from tests.unit.session.evidence.sources import checked, contexts_of

PASSAGE: Final = "A passage 🎉 with a\x1b[31m colour,\r\nand é\r\nin lines"
TEXT: Final = f"Before it: 𝄞 …\r\n{PASSAGE} of its own.\r\n"
SOURCES: Final = {
    "plain.txt": TEXT.encode(),
    "with a mark #1.txt": TEXT.encode("utf-8-sig"),
    "wide.txt": TEXT.encode("utf-16"),
    "damaged.txt": b"\xff" + TEXT.encode().replace(b"in lines", b"\xfein lines"),
    "old.txt": b"\xe9t\xe9 " * 50 + b"Gar\xe7on, une bi\xe8re!\r\n",
    "empty.txt": b"",
}


def selected(annotation: dict[str, Any], data: bytes) -> dict[str, bytes]:
    """The bytes that each kind of selector leads to, as a reader has it that knows nothing of this project."""
    encoding = annotation["target"]["source"]["format"].partition("charset=")[2]
    if data.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    text = data.decode(encoding, "surrogateescape")
    found = {}
    for one in annotation["target"]["selector"]:
        if one["type"] == "DataPositionSelector":
            found[one["type"]] = data[one["start"] : one["end"]]
            continue
        if one["type"] == "TextQuoteSelector":
            whole = one["prefix"] + one["exact"] + one["suffix"]
            assert text.count(whole) == 1
            start = text.index(whole) + len(one["prefix"])
            part = text[start : start + len(one["exact"])]
        else:
            part = text[one["start"] : one["end"]]
        found[one["type"]] = part.encode("utf-16-le" if encoding == "utf-16" else encoding, "surrogateescape")
        if encoding == "utf-8-sig":
            found[one["type"]] = part.encode()
    return found


def test_each_selector_leads_to_the_bytes_that_were_checked(tmp_path: Path) -> None:
    """Astral characters, CRLF, escapes, a byte order mark, bytes that do not decode; after a way through the record."""
    root = tmp_path / "root"
    root.mkdir()
    for name, data in SOURCES.items():
        (root / name).write_bytes(data)
    contexts = contexts_of(root, ContextSource(paths=(str(root),)))
    book = EvidenceBook()
    claims = [
        Claim(1, "context", "plain.txt", TEXT.index(PASSAGE), TEXT.index(PASSAGE) + len(PASSAGE), "", ""),
        Claim(2, "context", "with a mark #1.txt", 0, 12, "", ""),
        Claim(3, "context", "wide.txt", 11, len(TEXT) - 3, "", ""),
        Claim(4, "context", "damaged.txt", 0, len(TEXT) + 2, "", ""),
        Claim(5, "context", "old.txt", 200, 218, "", ""),
    ]
    book.take(claims, ())
    made = checked(contexts, "with a\x1b[31m colour, and é in lines of", book=book, marks=(1, 2, 3, 4, 5))
    assert [one.status for one in made.citations] == [*["verified"] * 5, "whitespace"]
    again = Checked.of_record(json.loads(json.dumps(made.record())))
    assert again == made
    written = json.dumps(annotations_of("s_test", "2026-11-29T00:00:00.000Z", again))
    assert written.isascii()
    page = json.loads(written)["first"]
    assert len(page["items"]) == json.loads(written)["total"] == 6
    for annotation in page["items"]:
        path = unquote_to_bytes(annotation["target"]["source"]["id"].removeprefix("file://"))
        parts = selected(annotation, Path(path.decode()).read_bytes())
        assert len(parts) == 3
        assert len(set(parts.values())) == 1, annotation["id"]
        (part,) = set(parts.values())
        assert hashlib.sha256(part).hexdigest() == annotation["rlm:sha256"]


def test_a_source_says_what_it_is(tmp_path: Path) -> None:
    """A text that a client gave has no file; of a compressed one the places are those of what it unpacks to."""
    contexts = contexts_of(tmp_path, ContextSource(text="A text that was given in a call, and no file has it."))
    made = checked(contexts, "that was given in a call")
    (annotation,) = annotations_of("s_test", "", made)["first"]["items"]
    assert annotation["target"]["source"]["id"] == "rlm://sessions/s_test/documents/context"
    assert annotation["body"] == {"type": "TextualBody", "value": "q1"}
    (one,) = made.citations
    assert one.passage is not None
    assert one.passage.exact is not None
    exact = replace(one.passage.exact, path="/logs/ol\udce9 %.gz", encoding="latin-1")
    moved = replace(one, passage=replace(one.passage, exact=exact))
    (annotation,) = annotations_of("s_test", "", Checked((moved,), made.coverage))["first"]["items"]
    assert annotation["target"]["source"] == {
        "id": "file:///logs/ol%E9%20%25.gz",
        "type": "Text",
        "format": "text/plain;charset=iso-8859-1",
        "rlm:document": "context",
        "rlm:unpackedFrom": "gzip",
    }


def test_a_mark_is_selected_as_the_answer_has_it(tmp_path: Path) -> None:
    """Where the answer is not to be read, as `cite` prints it."""
    contexts = contexts_of(tmp_path, ContextSource(text="A text that was given in a call, and no file has it."))
    book = EvidenceBook()
    book.take([Claim(number, "context", "context", number, 20, "", "") for number in (1, 2, 3, 4)])
    answer = "One [c01], two and three [c2,\xa0c\uff13], and again [c3]. Four [c4]."
    made = checked(contexts, book=book, marks=tuple(marks_of(answer)))

    def marks(*answers: str) -> list[str]:
        items = annotations_of("s_test", "", made, *answers)["first"]["items"]
        return [one["body"]["selector"]["exact"] for one in items]

    assert marks(answer) == ["[c01]", "[c2,\xa0c\uff13]", "[c2,\xa0c\uff13]", "[c4]"]
    assert all(mark in answer for mark in marks(answer))
    assert marks() == ["[c1]", "[c2]", "[c3]", "[c4]"]


def test_a_long_passage_leads_to_its_own_file_whatever_that_is_called(tmp_path: Path) -> None:
    """Its path as it is shown would be that of another file; the same where an answer has no room for the text."""
    root, words = tmp_path / "root", " ".join(f"word{number}" for number in range(3_000))
    root.mkdir()
    names = [b"a\x1b.txt", b"ol\xe9.txt"]
    for name in names:
        Path(os.fsdecode(bytes(root) + b"/" + name)).write_text(words, encoding="ascii")
    contexts = contexts_of(root, ContextSource(paths=(str(root),)))
    book = EvidenceBook()
    book.take(
        [
            Claim(n, "context", one.name, 0, EXACT_EACH + 1, "", "")
            for n, one in enumerate(Documents(contexts).listed(), 1)
        ]
    )
    made = checked(contexts, "word1 word2 word3 word4", book=book, marks=(1, 2))
    for kept in (made, replace(made, citations=within_room(made.citations, 0))):
        again = Checked.of_record(json.loads(json.dumps(kept.record())))
        assert again == kept
        items = annotations_of("s_test", "", again)["first"]["items"]
        sources = [one["target"]["source"] for one in items]
        paths = {unquote_to_bytes(one["id"].removeprefix("file://")) for one in sources}
        assert paths == {bytes(root) + b"/" + name for name in names}
        assert {one["format"] for one in sources} == {"text/plain;charset=utf-8"}
        kinds = [{selector["type"] for selector in one["target"]["selector"]} for one in items]
        assert ["TextQuoteSelector" in one for one in kinds] == [False, False, kept is made]


def test_a_long_passage_is_told_by_its_places_alone(tmp_path: Path) -> None:
    """And so are those for which an answer has no room any more; the record of all of them stays small."""
    words = " ".join(f"word{number}" for number in range(3_000))
    contexts = contexts_of(tmp_path, ContextSource(text=words))
    book = EvidenceBook()
    places = ((0, EXACT_EACH + 1), (5, 905))
    book.take([Claim(number, "context", "context", *place, "", "") for number, place in enumerate(places, 1)], ())
    made = checked(contexts, book=book, marks=(1, 2))
    kinds = [
        [selector["type"] for selector in one["target"]["selector"]]
        for one in annotations_of("s_test", "", made)["first"]["items"]
    ]
    positions = ["TextPositionSelector", "DataPositionSelector"]
    assert kinds == [positions, [*positions, "TextQuoteSelector"]]
    kept = within_room(made.citations, 899)
    exacts = [one.passage.exact for one in kept if one.passage is not None]
    assert [one is not None and one.text is None for one in exacts] == [True, True]
    assert len(json.dumps(Checked(kept, made.coverage).record())) < 3_000
