"""Quotes against the bytes of their sources: what is verified is there, and what is there is verified."""

from __future__ import annotations

import codecs
import hashlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.evidence import nearest, sought
from rlm_kernel_mcp.session.evidence.citations import Nearest, Passage, Quote
from rlm_kernel_mcp.session.evidence.documents import Documents
from rlm_kernel_mcp.session.evidence.nearest import Seeds
from rlm_kernel_mcp.session.evidence.sought import Limits, Sought, passage_at
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook
from tests.unit.session.evidence.sources import checked, citation, contexts_of, files

WORDS = "alpha Größe naïve 日本語 emoji😀x \x0bv end. tab\tbed Straße привет ½ ﬁ café — née\u00a0now 12,345".split(" ")  # noqa: SIM905
BETWEEN = [" ", " ", " ", "\n", "\r\n", "  ", "\t", "\u2003", "\n\n   "]
ENCODINGS = {
    "utf-8": (b"", "utf-8"),
    "utf-8-sig": (codecs.BOM_UTF8, "utf-8"),
    "utf-16": (codecs.BOM_UTF16_LE, "utf-16-le"),
    "utf-16-be": (codecs.BOM_UTF16_BE, "utf-16-be"),
    "utf-32": (codecs.BOM_UTF32_LE, "utf-32-le"),
    "latin-1": (b"", "latin-1"),
}
PATIENT = Limits(nearest_s=3_600)
"""On a machine with much else to do 20 s are not enough for 200 quotes."""
SMALL = 97
"""Bytes of a window: every text is cut somewhere in a character, a line end, a quote."""


def some_text(rng: random.Random, words: int, encoding: str) -> str:
    made = "".join(rng.choice(WORDS) + f"{rng.randrange(9999)}" + rng.choice(BETWEEN) for _ in range(words))
    return made.encode("latin-1", "ignore").decode("latin-1") + "é\xff" * 40 if encoding == "latin-1" else made


def the_passage(passage: Passage | None, data: bytes, text: str, codec: str) -> str:
    """What a passage says, held against the file and its text by plain Python."""
    assert passage is not None
    raw = data[passage.start_byte : passage.end_byte]
    part = text[passage.start_char : passage.end_char]
    assert hashlib.sha256(raw).hexdigest() == passage.sha256
    assert raw.decode(codec, "surrogateescape") == part
    assert passage.start_line == text.count("\n", 0, passage.start_char) + 1
    assert passage.end_line == text.count("\n", 0, max(passage.start_char, passage.end_char - 1)) + 1
    return part


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("window", [SMALL, 4 << 20])
def test_a_passage_of_a_document_is_verified_at_its_characters_bytes_and_lines(
    tmp_path: Path, encoding: str, window: int
) -> None:
    """And with other white space it is found too, by a plain Python oracle."""
    rng = random.Random(encoding)
    mark, codec = ENCODINGS[encoding]
    text = some_text(rng, 1_500, encoding)
    data = mark + text.encode(codec)
    contexts = contexts_of(tmp_path, files(tmp_path, a=data, b=b"beside it\n" * 20))
    exact = [text[at : at + rng.randrange(20, 200)] for at in (rng.randrange(len(text) - 200) for _ in range(40))]
    spaced = ["  \n ".join(one.split()) for one in exact]
    result = checked(contexts, *exact, *spaced, limits=Limits(window_bytes=window))
    for quote, found in zip([*exact, *spaced], result.citations, strict=True):
        is_there = quote in text
        assert found.status == ("verified" if is_there else "whitespace"), (quote, found)
        part = the_passage(found.passage, data, text, codec)
        assert part == quote if is_there else part.split() == quote.split()
        assert found.matches == (text.count(quote) if is_there else found.matches)
    assert not result.failed
    assert result.coverage.changed is False


def test_a_character_more_or_less_is_never_verified(tmp_path: Path) -> None:
    """One character changed in each quote turns every one into a refusal; the nearest passage is where it was."""
    rng = random.Random(1)
    text = some_text(rng, 4_000, "utf-8")
    contexts = contexts_of(tmp_path, files(tmp_path, a=text.encode()))
    quotes, places = list[str](), list[int]()
    while len(quotes) < 200:
        at = rng.randrange(len(text) - 120)
        quote = text[at : at + rng.randrange(40, 120)].strip()
        place = rng.randrange(1, len(quote) - 1)
        wrong = quote[:place] + "#" + quote[place + 1 :]
        if " ".join(wrong.split()) != " ".join(quote.split()) and not quote[place].isspace():
            quotes.append(wrong)
            places.append(text.index(quote))
    result = checked(contexts, *quotes, limits=PATIENT)
    assert {one.status for one in result.citations} <= {"near", "missing"}
    near = [one.nearest for one in result.citations]
    right = sum(
        one is not None and abs(one.passage.start_char - place) < 8 for one, place in zip(near, places, strict=True)
    )
    assert right >= 190
    assert len(result.failed) == 200


@pytest.mark.slow
def test_one_to_three_typing_errors_are_located(tmp_path: Path) -> None:
    """In at least 95 of 100."""
    rng = random.Random(2)
    lines = [
        f"{rng.choice(WORDS)} {rng.randrange(10**6)} said {rng.choice(WORDS)} of {rng.random()}" for _ in range(5_000)
    ]
    text = "\n".join(lines)
    contexts = contexts_of(tmp_path, files(tmp_path, a=text.encode()))
    located, quotes, origins = 0, list[str](), list[str]()
    for _ in range(200):
        origin = rng.choice(lines)
        quote = origin
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(2, len(quote) - 2)  # at an end it would only be a shorter quote
            quote = quote[:at] + rng.choice(["", "x", quote[at] + "q"]) + quote[at + 1 :]
        if quote.split() != origin.split():
            quotes.append(quote)
            origins.append(origin)
    for origin, one in zip(origins, checked(contexts, *quotes, limits=PATIENT).citations, strict=True):
        assert not one.passes
        located += one.nearest is not None and abs(one.nearest.passage.start_char - text.index(origin)) < 16
    assert located >= 0.95 * len(quotes)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("window", [SMALL, 4 << 20])
def test_a_typing_error_is_located_where_the_rarest_part_of_the_quote_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, window: int
) -> None:
    """Even if none of its pieces is looked for; of several such places it is the one that is most like the quote."""
    monkeypatch.setattr(nearest, "SEEDS", 0)
    monkeypatch.setattr(sought, "SAMPLE_BYTES", 4)
    mark, codec = ENCODINGS[encoding]
    lines = [
        f"{number} für alle, {'xyz'[number % 3] * 9} um {number * 7919} Uhr: Ende gut, alles ist gut"
        for number in range(30)
    ]
    text = "\n".join(["Anfang"] + lines * 2 + ["Schluß"])
    contexts = contexts_of(tmp_path, files(tmp_path, a=mark + text.encode(codec)))
    for line in (lines[0], lines[17], lines[29]):
        found = citation(contexts, line.replace("für", "fr"), replace(PATIENT, window_bytes=window))
        assert found.nearest is not None
        passage = found.nearest.passage
        assert (passage.text, text[passage.start_char : passage.end_char]) == (line, line)


def test_a_quote_that_is_near_a_passage_has_no_pieces_looked_for() -> None:
    """One that differs by more than a few typing errors has, since another passage may be nearer."""
    passage = cast(Passage, None)
    text = "a line of some words, at the end of which stands the number 1,234"
    sample = [b"nothing of it"]
    assert not Seeds([Sought(Quote(text), nearest=Nearest(passage, 0.98))]).needles(sample, 1.0)
    assert Seeds([Sought(Quote(text), nearest=Nearest(passage, 0.93))]).needles(sample, 1.0)
    assert Seeds([Sought(Quote("few words and 1"), nearest=Nearest(passage, 0.85))]).needles(sample, 1.0)
    assert Seeds([Sought(Quote(text))]).needles(sample, 1.0)


def test_the_nearest_passage_of_a_quote_that_has_more_ends_where_the_likeness_ends(tmp_path: Path) -> None:
    """What stands beside it is no part of it, though the quote is as long as both together."""
    passage = "def parse(self):\n        # Create a new message and start by parsing headers."
    contexts = contexts_of(tmp_path, ContextSource(text=f"{'x = 1; ' * 9}\n\n    {passage}\n{'y = 2; ' * 9}"))
    found = citation(contexts, passage.replace("(", "_as_nobody_has_written_it("))
    assert found.nearest is not None
    assert found.nearest.passage.text == passage


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_nothing_that_was_invented_is_verified(tmp_path: Path, count: int) -> None:
    """However many are tried."""
    rng = random.Random(3)
    text = some_text(rng, 20_000, "utf-8")
    contexts = contexts_of(tmp_path, files(tmp_path, a=text.encode(), b=text[::-1].encode()))
    invented = [
        f"The {rng.choice(WORDS)} service lost {rng.randrange(10**6)} orders after node {rng.randrange(99)}"
        for _ in range(count)
    ]
    for begin in range(0, count, 1_000):
        assert not any(one.passes for one in checked(contexts, *invented[begin : begin + 1_000]).citations)


def test_a_quote_that_is_short_or_stands_everywhere_is_no_evidence(tmp_path: Path) -> None:
    """Twelve characters, and twenty places; what is counted is said."""
    data = b"a line that is here often\n" * 21 + b"another line, twenty times\n" * 20 + b"z" * 3_000
    contexts = contexts_of(tmp_path, files(tmp_path, a=data))
    often, enough, short, run = checked(
        contexts, "a line that is here often", "another line, twenty times", "a line that", "z" * 40
    ).citations
    assert (often.status, often.matches, often.passage) == ("missing", 21, None)
    assert (enough.status, enough.matches) == ("verified", 20)
    assert (short.status, short.matches) == ("missing", None)
    assert (run.status, run.matches) == ("missing", 1_000)
    assert "21 places" in (often.why or "")
    assert "1,000 or more places" in (run.why or "")
    assert "12 characters" in (short.why or "")


def test_a_quote_may_name_its_document(tmp_path: Path) -> None:
    """Its own or its context's; elsewhere it is missing, though it is there."""
    data = b"the very same passage stands here\n"
    contexts = contexts_of(tmp_path, files(tmp_path, a=data + b"1", b=data + b"2" * 20, c=b"nothing of it is here" * 3))
    text = data.decode().strip()
    names = ("a.txt", "b.txt", "c.txt", "context", "d.txt", None)
    rows = checked(contexts, *(Quote(text, name) for name in names)).citations
    assert [one.status for one in rows] == ["verified", "verified", "missing", "verified", "missing", "verified"]
    assert [one.passage.doc for one in rows if one.passage] == ["a.txt", "b.txt", "a.txt", "a.txt"]
    assert [one.matches for one in rows] == [1, 1, 0, 2, 0, 2]
    assert rows[4].why == "No document or context is called “d.txt”, which its doc says."


def test_texts_of_the_client_s_own_and_json_are_sources_too(tmp_path: Path) -> None:
    """By the server's copy; a context that was added likewise."""
    text = "Größe 😀 of the text, given inline\r\nwith a lone \ud800 surrogate and more"
    json_text = '{"name": "a passage of the JSON text"}'
    contexts = contexts_of(
        tmp_path,
        ContextSource(text=text),
        ContextSource(text=json_text, is_json=True, name="facts"),
        replace(files(tmp_path, a=b"a passage of an added file"), name="more", prefix="more/"),
    )
    first, second, third, odd = checked(
        contexts,
        "of the text, given inline",
        "a passage of the JSON text",
        "a passage of an added file",
        "surrogate and more",
    ).citations
    assert [one.status for one in (first, second, third, odd)] == ["verified"] * 4
    assert first.passage is not None
    assert second.passage is not None
    assert third.passage is not None
    assert (first.passage.doc, first.passage.path) == ("context", None)
    assert first.passage.start_byte == len("Größe 😀 ".encode())
    assert (second.passage.doc, second.passage.start_char) == ("facts", json_text.index("a passage"))
    assert third.passage.path == str(tmp_path / "a.txt")


def test_bytes_that_do_not_decode_are_passed_over_and_never_half_a_character(tmp_path: Path) -> None:
    """What is beside them is found where it stands."""
    data = "before the bad byte é ".encode() + b"\xff\xa9" + b" and behind it there is more text" + "ü".encode() * 3_000
    text = data.decode("utf-8", "surrogateescape")
    contexts = contexts_of(tmp_path, files(tmp_path, a=data))
    behind = citation(contexts, "and behind it there is more text")
    assert the_passage(behind.passage, data, text, "utf-8") == "and behind it there is more text"
    whole = citation(contexts, text[11:35])
    assert (whole.status, whole.passage.text if whole.passage else "") == (
        "verified",
        text[11:35].replace("\udcff", r"\udcff").replace("\udca9", r"\udca9"),
    )
    half = citation(contexts, "\udca9 and behind it")
    assert half.status == "verified"
    split = citation(contexts, "\udcbc" + "ü" * 20)
    assert not split.passes


def test_all_the_white_space_of_python_is_white_space(tmp_path: Path) -> None:
    """As `str.split` has it, however much of it there is."""
    spaces = [chr(code) for code in range(0x3001) if chr(code).isspace()]
    text = "".join(f"first word{space * 3}second word {number:,} third\n" for number, space in enumerate(spaces))
    contexts = contexts_of(tmp_path, files(tmp_path, a=text.encode()))
    rows = checked(contexts, *(f"first\nword second word {number:,} third" for number in range(len(spaces)))).citations
    assert {one.status for one in rows} == {"whitespace"}
    together = citation(contexts, "first words econd word 3 third")
    assert not together.passes


def test_words_that_are_divided_in_another_way_everywhere_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look reads the source: a text that has nothing else would be looked at for hours."""
    monkeypatch.setattr("rlm_kernel_mcp.session.evidence.quotes.IN_VAIN_MAX", 50)
    looks: list[int] = []

    def counted(*place: Any) -> object:
        looks.append(1)
        return passage_at(*place)

    monkeypatch.setattr("rlm_kernel_mcp.session.evidence.quotes.passage_at", counted)
    contexts = contexts_of(tmp_path, files(tmp_path, text=b"abcdefg hijklmnop\n" * 400))
    found = citation(contexts, "abcdefgh ijklmnop")
    assert (found.status, len(looks)) == ("missing", 50)
    assert found.why is not None
    assert "nothing of it is rare" in found.why


def test_nothing_is_opened_for_an_answer_that_cites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, and no loader that unpacks one, where the sources are too large to be read for the coverage alone."""
    contexts = contexts_of(tmp_path, files(tmp_path, b=b"another text\n"))
    held: list[object] = []
    monkeypatch.setattr(Documents, "_hold", lambda _, context: held.append(context))
    monkeypatch.setattr("rlm_kernel_mcp.session.evidence.check.BY_TEXT_BYTES", 0)
    book = EvidenceBook()
    book.deliver("a line of more than forty characters, which a reply has")
    found = checked(contexts, book=book)
    assert (found.citations, found.coverage.by_document, held) == ((), (), [])
    assert not found.coverage.changed
    marks = contexts.all[0].marks
    assert marks is not None
    marks.has_changed = True
    assert checked(contexts, book=book).coverage.changed, "a step was told that its files have changed"
    assert held == []
