"""Characters, bytes and lines of what is found, against a plain search of the decoded text."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.in_kernel.explore import hits as hits_module
from rlm_kernel_mcp.in_kernel.explore import places
from rlm_kernel_mcp.in_kernel.explore.matching import literals, windows
from rlm_kernel_mcp.in_kernel.explore.searching import count, search
from rlm_kernel_mcp.in_kernel.explore.sources import NoText, Source, look_in, set_source
from rlm_kernel_mcp.in_kernel.explore.spans import Span, lines, span
from tests.unit.in_kernel.explore.conftest import Load, source_of

LETTERS: Final = "ab\n\r\t\xe9\u4e2d\U0001f680\x00\x0b\u2028"
ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1")
LIMITS: Final = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _blocks_again() -> Iterator[None]:
    """The blocks' size is the module's again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "BLOCK_CHARS", places.BLOCK_CHARS)
        yield


def small_blocks(chars: int) -> None:
    """Let blocks be of this size, so that their borders are everywhere."""
    setattr(places, "BLOCK_CHARS", chars)  # noqa: B010  (a constant to the type checker)


many = st.lists(st.text(st.sampled_from(LETTERS), max_size=30), min_size=1, max_size=4)


@LIMITS
@given(texts=many, encoding=st.sampled_from(ENCODINGS), block=st.sampled_from((2, 7, 1 << 16)))
def test_a_hit_stands_where_the_decoded_text_has_it(texts: list[str], encoding: str, block: int) -> None:
    """In its context, and in its document as characters, as the file's bytes, and by its line."""
    small_blocks(block)
    if encoding == "latin-1":
        texts = [text.encode("latin-1", "ignore").decode("latin-1") for text in texts]
    documents = {f"{index}.txt": text for index, text in enumerate(texts)}
    set_source(source_of(documents, encoding=encoding))
    wanted, before = [], 0
    for name, text in documents.items():
        codec = f"{encoding}-le" if encoding in ("utf-16", "utf-32") else encoding.removesuffix("-sig")
        mark = len(text.encode(encoding)) - len(text.encode(codec))
        for match in re.finditer("a|b", text):
            start, end = match.span()
            in_file = tuple(mark + len(text[:place].encode(codec)) for place in (start, end))
            line = text.count("\n", 0, start) + 1
            wanted.append((name, before + start, before + end, (start, end), in_file, line))
        before += len(text)
    found = search(["a", "b"])
    assert [(hit.doc, hit.start, hit.end, hit.chars, hit.bytes, hit.line) for hit in found] == wanted
    assert [found[index].text for index in range(len(found))] == re.findall("[ab]", "".join(texts))


@LIMITS
@given(text=st.text(st.sampled_from(LETTERS), min_size=1, max_size=40), block=st.sampled_from((2, 7, 1 << 16)))
def test_lines_are_those_that_a_line_feed_ends(text: str, block: int) -> None:
    """From the beginning and from the end; joined they are the text."""
    small_blocks(block)
    set_source(source_of({"one": text}))
    wanted = re.findall(r"[^\n]*\n|[^\n]+", text)
    assert [lines(number).text for number in range(1, len(wanted) + 1)] == wanted
    assert [lines(-number).text for number in range(len(wanted), 0, -1)] == wanted
    assert lines(1, len(wanted)).text == text
    assert [lines(number).line for number in range(1, len(wanted) + 1)] == list(range(1, len(wanted) + 1))
    with pytest.raises(IndexError, match=f"there are {len(wanted):,}"):
        lines(len(wanted) + 1)


@LIMITS
@given(texts=many, first=st.integers(-50, 50), last=st.one_of(st.none(), st.integers(-50, 50)))
def test_a_span_is_the_slice_of_these_numbers(texts: list[str], first: int, last: int | None) -> None:
    """Of a document, or of the whole."""
    set_source(source_of({f"{index}": text for index, text in enumerate(texts)}))
    assert span(first, last).text == "".join(texts)[first:last]
    assert span(first, last, "0").text == texts[0][first:last]


def test_a_span_gives_what_stands_around_it_in_its_document(load: Load) -> None:
    """And no further."""
    load({"a": "never seen\n", "b": "one\ntwo words\r\nthree\nfour", "c": "never seen"})
    (hit,) = search("words")
    assert (hit.before(4), hit.after(4)) == ("two ", "\r\nth")
    assert (hit.before(99), hit.after(99)) == ("one\ntwo ", "\r\nthree\nfour")
    assert hit.lines().text == "two words\r\n"
    assert hit.lines(1).text == "one\ntwo words\r\nthree\n"
    assert hit.lines(9).text == "one\ntwo words\r\nthree\nfour"
    assert (hit.lines(1).line, hit.lines(1).last_line, str(hit), len(hit)) == (1, 3, "words", 5)


def test_a_match_never_goes_from_one_document_into_the_next(load: Load) -> None:
    """Whether or not the first ends with a line."""
    load({"a": "xy", "b": "z\n", "c": "xyz"})
    assert [hit.doc for hit in search("yz")] == ["c"]
    assert [hit.doc for hit in search(r"y\s*z", regex=True)] == ["c"]
    assert [hit.doc for hit in search(r"z\n?x", regex=True)] == []
    assert [hit.start for hit in search(r"^[xz]", regex=True)] == [0, 2, 4]
    assert [hit.start for hit in search(r"[yz]$", regex=True)] == [1, 2, 6]
    assert [hit.start for hit in search(r"\bz", regex=True)] == [2]
    assert [hit.start for hit in search(r"(?<!y)z", regex=True)] == [2]


def test_documents_are_chosen_by_name_context_pattern_directory_or_place(load: Load) -> None:
    """Several together too; a name that nothing has is answered with the nearest."""
    load({"src/a.py": "x", "src/b.c": "xx", "doc/a.md": "xxx"})
    load({"more/a.py": "xxxx"}, first=False, name="more")
    numbers = {"src/a.py": 1, "*.py": 5, "src/*": 3, "src/": 3, "more": 4, "context": 6, "*": 10}
    assert {docs: len(search("x", docs=docs)) for docs in numbers} == numbers
    assert len(search("x", docs=["doc/a.md", "*.c"])) == 5
    assert len(search("x", docs=span(1, 3))) == 2
    with pytest.raises(KeyError, match=r"none of 4 documents, is 'a\.py'; the nearest: 'src/a\.py'"):
        search("x", docs="a.py")
    with pytest.raises(KeyError, match=r"is '\*\.rs'; the first: 'src/a\.py'.*; tree\(\) shows them"):
        search("x", docs="*.rs")
    with pytest.raises(TypeError, match="docs is a name"):
        search("x", docs=7)


def test_pages_are_all_hits_once(load: Load) -> None:
    """`start`, `limit`, `more`, `next` and `total`."""
    load({"a": "x." * 500, "b": "x." * 7})
    first = search("x", limit=200)
    assert (len(first), first.more, first.next, first.total) == (200, True, 200, None)
    starts, hits = list[int](), first
    while True:
        starts += [hit.start for hit in hits]
        if hits.next is None:
            break
        hits = search("x", start=hits.next, limit=200)
    assert starts == list(range(0, 1014, 2))
    assert (hits.total, search("x", limit=None).total, len(search("x", start=600))) == (507, 507, 0)
    assert search("x", start=600).total == 507
    assert (len(search("x", limit=507)), search("x", limit=507).more, search("x", limit=0).more) == (507, False, True)


def test_hits_are_a_sequence_and_come_back_from_a_snapshot_as_places(load: Load) -> None:
    """Slices are hits again; the text is not copied."""
    load({"a": "k=1 k=2\nk=3 " * 100})
    hits = search(r"(k)=(\d)", regex=True)
    assert (hits[-1].groups, hits[1].groups, [hit.text for hit in hits[1:3]]) == (
        ("k", "3"),
        ("k", "2"),
        ["k=2", "k=3"],
    )
    assert ([hit.start for hit in hits[::-150]], hits[5:].total) == ([1196, 596], 295)
    assert [one.line for one in hits.lines[:3]] == [1, 2, 3]
    data = pickle.dumps((hits, hits[2], hits[2].lines()))
    assert len(data) < 10_000
    again, hit, line = pickle.loads(data)
    assert ([one.start for one in again], hit, line) == ([one.start for one in hits], hits[2], hits[2].lines())
    assert ([one.groups for one in again[:3]], hit.groups) == ([one.groups for one in hits[:3]], hits[2].groups)
    with pytest.raises(IndexError):
        hits[300]


@pytest.mark.parametrize(("name", "size"), [("TOGETHER", 7), ("TAKEN", 4), ("LARGE", 20)])
def test_many_hits_are_kept_in_parts_and_are_one_sequence(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    """A part is full before the last of them, has too many to be added to another, or numbers that are too large.

    And one line has hits of two parts.
    """
    monkeypatch.setattr(hits_module, name, size)
    monkeypatch.setattr(literals, "WINDOW_CHARS", 10)
    load({"a": "x x x\nx " * 30})
    hits, wanted = search("x"), [match.start() for match in re.finditer("x", "x x x\nx " * 30)]
    assert len(hits._places) > 9
    assert ([hit.start for hit in hits], hits.total) == (wanted, len(wanted))
    assert [hits[index].start for index in range(-len(wanted), len(wanted))] == wanted * 2
    assert [hit.start for hit in hits[5:99:1]] == wanted[5:99]
    assert [one.line for one in hits.lines] == list(range(1, 32))
    assert [hit.start for hit in search("x", start=20, limit=40)] == wanted[20:60]
    assert [hit.start for hit in pickle.loads(pickle.dumps(hits))] == wanted


def test_the_groups_of_hits_are_those_of_their_own_search(load: Load) -> None:
    """Whatever was looked for by the same pattern since: in one text RE2 has found it, and `re` in the other."""
    load({"a": "caf\xe9 k=1", "b": "k=2"})
    load({"c": "k=3"}, first=False, name="other")
    by_re, by_re2 = (search(r"\b(k)=(\d)", regex=True, docs=name) for name in ("context", "other"))
    assert (by_re.engine, by_re2.engine) == ("re", "re2")
    assert [hit.groups for hits in (by_re, by_re2) for hit in hits] == [("k", "1"), ("k", "2"), ("k", "3")]


@LIMITS
@given(
    patterns=st.lists(
        st.lists(st.text(st.sampled_from("abk# \n\xe9"), min_size=1, max_size=4), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    ),
    text=st.text(st.sampled_from("abk# \n\xe9"), max_size=80),
)
def test_a_pattern_of_plain_words_is_looked_for_as_words_and_matches_as_in_re(
    patterns: list[list[str]], text: str
) -> None:
    """The first one at a place, not the longest."""
    sources = list(map("|".join, patterns))
    look_in({"context": text})
    if text:
        hits = search(sources, regex=True, limit=None)
        assert [(hit.start, hit.end) for hit in hits] == [one.span() for one in re.finditer("|".join(sources), text)]
        assert (hits.engine, {hit.groups for hit in hits} - {()}) == ("ahocorasick", set())


@pytest.mark.parametrize("pattern", ["x|", "|x", "a||b", *(f"a|x{one}" for one in r".^$*+?{}]"), "[a]", "(a)", r"\a|b"])
def test_a_pattern_with_more_than_words_between_bars_is_an_expression(load: Load, pattern: str) -> None:
    """Whether the sign has a meaning where it stands or not; and words in any case are one too."""
    load({"a": "ab"})
    assert search(pattern, regex=True).engine in ("re2", "re")
    assert search("a|b", regex=True, ignore_case=True).engine == "re2"


def test_lines_of_hits_in_any_order_are_each_line_once(load: Load) -> None:
    """Of hits that were turned around too."""
    load({"a": "x x\nx\n\nx x"})
    hits = search("x")
    assert [one.line for one in hits.lines] == [1, 2, 4]
    assert [one.line for one in hits[::-1].lines] == [4, 2, 1]


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_line_is_looked_for_in_parts_on_both_sides(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a line of a gigabyte one call took 0.1 s, in which neither an interrupt nor another thread had its turn."""
    asked: list[int] = []

    class Noting(str):
        __slots__ = ()

        def find(self, one: str, start: int, end: int) -> int:  # type: ignore[override]  # as it is called
            asked.append(end - start)
            return super().find(one, start, end)

        def rfind(self, one: str, start: int, end: int) -> int:  # type: ignore[override]  # as it is called
            asked.append(end - start)
            return super().rfind(one, start, end)

    monkeypatch.setattr(windows, "LINE_CHARS", size)
    text = Noting("a\n\n" + "x" * 50 + "\nbcd\n" + "y" * 30)
    source = Source("context", text, [("one", 10, "utf-8", "strict"), ("two", len(text) - 10, "utf-8", "strict")])
    for start in range(10, len(text) + 1):
        rest = text[10:]
        wanted = rest.count("\n", 0, start - 10)
        low = sum(map(len, rest.splitlines(keepends=True)[:wanted]))
        assert Span(source, start, start).lines().start == 10 + low
        assert Span(source, start, start).lines(9).start == 10
    assert Span(source, 3, 4).lines().start == 3
    assert Span(source, 3, 4).lines(1).start == 2
    assert Span(source, 3, 4).lines(2).start == Span(source, 3, 4).lines(3).start == 0
    assert asked
    assert max(asked) <= size


def test_counts_are_by_document_or_by_what_the_lines_look_like(load: Load) -> None:
    """Numbers in a line do not make it another."""
    load({"a": "job 17 took 3 ms\njob 18 took 40 ms\nother 1 ms ms\n", "b": "none", "c": "ms"})
    assert count("ms") == {"a": 4, "c": 1}
    assert count("ms").total == 5
    assert count("ms", by="line shape") == {"job 0 took 0 ms": 2, "other 0 ms ms": 1, "ms": 1}
    with pytest.raises(ValueError, match="by is one of 'document', 'line shape'"):
        count("ms", by="day")


def test_without_a_text_it_is_said_what_to_do(load: Load) -> None:
    """A text that a step binds to the context's name is looked in, as it is then."""
    del load
    names: dict[str, object] = {"context": ""}
    look_in(names)
    with pytest.raises(NoText, match="rlm_init_context and rlm_add_context load one, or bind a str to `context`"):
        search("x")
    names["context"] = "a\nx"
    assert [hit.line for hit in search("x")] == [2]
    names["context"] = "x"
    assert [hit.line for hit in search("x")] == [1]


@pytest.mark.parametrize("pattern", ["", [], ["a", ""]])
def test_nothing_is_not_looked_for(load: Load, pattern: str | list[str]) -> None:
    """It would be everywhere."""
    load({"a": "x"})
    with pytest.raises(ValueError, match="there is nothing to look for"):
        search(pattern)


def test_a_place_is_equal_to_the_same_place(load: Load) -> None:
    """Whatever found it."""
    source = load({"a": "x y"})
    assert {search("x")[0], span(0, 1), Span(source, 0, 1)} == {span(0, 1)}
    assert span(0, 1) != "x"
