"""What RE2 finds by windows against what Python's `re` finds in the whole text."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.in_kernel.explore.matching import expressions, literals, utf8, windows
from rlm_kernel_mcp.in_kernel.explore.matching.elsewhere import in_a_thread
from rlm_kernel_mcp.in_kernel.explore.matching.expressions import Expressions
from rlm_kernel_mcp.in_kernel.explore.matching.literals import Literals
from rlm_kernel_mcp.in_kernel.explore.matching.windows import Spans, Subject
from rlm_kernel_mcp.in_kernel.explore.patterns.expression import BadPattern, Expression
from rlm_kernel_mcp.in_kernel.explore.sources import Source

PATTERNS: Final = (
    *("(?i)erk", "(?i)K", "(?i)s1", "(?i)=\xe9"),
    *("ERK", r"[ab]+1", r"a.b", r"=[^\n]*E", r"\w+=", r"\bk", r"k\b", r"\Bk", r"\s+a", r"[^a]b", r"\d+"),
    *(r"\D1", r"\S+", r"(?i)k+", r"(?i)[a-k]1", r"(?i)s\b", r"(?i)i", r"(?i:K)b", r"(?i)[^k]=", r"(?a)\w+"),
    *(r"(?a)\s", r"(?ai)k", r"\W\w", r"^a", r"b$", r"(?m)^$", r"\Aa", r"b\Z", r"(?-m:^)a", r"(?-m:a$)"),
    *(r"(?s)a.{1,5}b", r"a\nb", r"a\s*b", r"[\s\S]a", r"(?<=a)b", r"(?<!a)b", r"a(?=b)", r"E(?!R)", r"(a|b)\1"),
    *(r"(?i)(a|b)\1", r"(a)?b(?(1)a|1)", r"(?>a|ab)1", r"a++b", r"(?:ab|a)b?", r"a+?b", r"[^\W\d]+"),
    *(r"[^\s]{2,3}", r"(a)|(b)", r"\x00", r"(?P<x>a)b", r"a{1001}|b", r"a*", r"x*?", r"ab1.*", r"\r\n"),
    *(r"(?x) a  b # no space", r"a\r?$", r"(?:a|b){2,}", "\xe9", "\U0001f680+", r"[\u4e2d-\u4e2f]"),
)
LETTERS: Final = "ab1 \n\r\t\xe9\u4e2d\U0001f680\x00\x0b\x1c\u2028\xa0ERK\u212ak=_\udc80\u0301\u0130\u0131s\u017f\u0663"
texts = st.one_of(
    st.text(st.sampled_from(LETTERS), max_size=60),
    st.text(st.sampled_from("ab1 \n\r\tERKk=_\x0b\x1c"), max_size=80),
    st.text(st.sampled_from("ab1\n"), max_size=100),
)
sizes = st.sampled_from((2, 3, 7, 16, 100, 1 << 18))


@pytest.fixture(autouse=True)
def _sizes_again() -> Iterator[None]:
    """The windows' sizes are the module's again."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in SIZES:
            patch.setattr(module, name, getattr(module, name))
        for name in ("BLOCK_BITS", "ASCII_BLOCKS"):
            patch.setattr(utf8, name, getattr(utf8, name))
        yield


SIZES: Final = (
    (windows, "WINDOW_CHARS"),
    (windows, "ENCODED_CHARS"),
    (expressions, "ENCODED_CHARS"),
    (literals, "WINDOW_CHARS"),
    (windows, "LINE_CHARS"),
    (expressions, "AT_A_TIME"),
    (expressions, "COMMON_BYTES"),
    (expressions, "RUN_BYTES"),
    (expressions, "COPIED_BYTES"),
    (expressions, "LOWER_CHARS"),
    (expressions, "MIXED_CHARS"),
    (utf8, "COPIED_BYTES"),
)


def small(size: int) -> None:
    """Let windows be of this size, so that their borders are everywhere."""
    for module, name in SIZES:
        setattr(module, name, size)
    setattr(utf8, "BLOCK_BITS", min(9, size % 5))  # noqa: B010  (a constant to the type checker)
    setattr(utf8, "ASCII_BLOCKS", 1 + size % 3)  # noqa: B010


def found(matcher: Expressions | Literals, text: str) -> list[tuple[int, int]]:
    """Every match in a text: the same whether its UTF-8 is kept, or made for each window."""
    kept, made = Subject(text), Subject(text, has_room=lambda size: False)
    spans = [span for spans in matcher.find(kept, 0, len(text)) for span in spans]
    assert [span for spans in matcher.find(made, 0, len(text)) for span in spans] == spans
    return spans


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=25, deadline=None)
@given(text=texts, size=sizes)
def test_a_pattern_matches_just_where_re_says(pattern: str, text: str, size: int) -> None:
    """With `^` and `$` at each line; groups too."""
    small(size)
    matcher, wanted = Expressions(Expression(pattern)), list(re.finditer(pattern, text, re.MULTILINE))
    assert found(matcher, text) == [match.span() for match in wanted]
    for match in wanted[:3]:
        assert matcher.groups(Subject(text), 0, len(text), match.span(), by_re=matcher.name == "re") == match.groups()


@pytest.mark.parametrize("pattern", [r"[ab]+=a", r"[^=\n]+=ab", r"\w+=a", r"[b\xe9]+=ab", r"[a=]+=b", r"[b]+=a="])
@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from("ab=\n\xe9"), max_size=60), size=sizes, near=st.sampled_from((1, 2, 64)))
def test_a_run_of_one_class_before_a_string_matches_just_where_re_says(
    pattern: str, text: str, size: int, near: int
) -> None:
    """However far it goes back: up to the match before, or into a string that no match contains."""
    small(size)
    setattr(expressions, "RUN_BYTES", near)  # noqa: B010  (a constant to the type checker)
    wanted = [match.span() for match in re.finditer(pattern, text)]
    assert found(Expressions(Expression(pattern)), text) == wanted
    assert found(Expressions(Expression(pattern)), text.replace("\xe9", "b")) == [
        match.span() for match in re.finditer(pattern, text.replace("\xe9", "b"))
    ]


@pytest.mark.parametrize(
    ("pattern", "run"),
    [
        (r"[0-9A-Za-z_]+@example", r"\w"),
        (r"[^@\n]+@x", r"[^@\n]"),
        (r"\w+ms", ""),
        (r"\d+ms", r"\d"),
        (r"\w+@e@", ""),
        (r"\w*@ex", ""),
        (r"\w+@ex?", ""),
        (r"\w{1,9}@ex", ""),
        (r"(?i)\d+ms", ""),
        (r"a+@x", ""),
    ],
)
def test_a_pattern_that_is_one_class_and_a_string_needs_no_call_of_re2_for_each_match(pattern: str, run: str) -> None:
    """Only where what stands before the string is a match's beginning, as far as the class goes."""
    letters = "".join(map(chr, range(128)))
    assert Expression(pattern).run.decode() == ("".join(re.findall(run, letters, re.ASCII)) if run else "")


WORD_LETTERS: Final = st.sampled_from("ab1\nE\xe9\U0001f680")


@settings(max_examples=200, deadline=None)
@given(
    text=texts,
    size=sizes,
    words=st.one_of(
        st.lists(st.text(WORD_LETTERS, min_size=1), min_size=1),
        st.lists(st.text(WORD_LETTERS, min_size=2, max_size=4), min_size=2, max_size=8),
    ),
)
def test_words_are_found_just_where_re_finds_one_or_the_other(text: str, size: int, words: list[str]) -> None:
    """Also where a window's border lies in a word or in a character."""
    small(size)
    wanted = [match.span() for match in re.finditer("|".join(map(re.escape, words)), text)]
    assert found(Literals(words), text) == wanted


def test_what_is_looked_for_beside_a_few_words_is_in_no_text() -> None:
    """It would be a match that nobody asked for."""
    every = utf8.encoded("".join(map(chr, range(sys.maxunicode + 1))))
    assert set(every).isdisjoint(b"".join(literals._NOWHERE))
    assert len({one[0] for one in literals._NOWHERE}) == 3


@pytest.mark.parametrize("words", [["ab1"], ["\r\n"], ["\xe9\U0001f680"], ["a\r\nb", "ab"], ["ab", "ab1E"]])
def test_a_word_that_a_window_s_border_cuts_is_found_once(words: list[str]) -> None:
    """At each place before and behind the border: in a match, in a character, between CR and LF."""
    small(1)  # windows are four times as long as the longest word then
    pattern = "|".join(map(re.escape, words))
    for before in range(6 * max(map(len, words))):
        for filling in ("x", "\xfc"):
            text = filling * before + (words[0] + words[-1]) * 2 + filling * 30
            assert found(Literals(words), text) == [match.span() for match in re.finditer(pattern, text)], before


def test_in_a_very_large_text_blocks_are_larger_and_a_match_is_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their table has more than 4 bytes for each then."""
    monkeypatch.setattr(utf8, "LARGE_BYTES", 0)
    small(100)
    text = ("ab1 \xe9\u4e2d\U0001f680\n" * 20 + "x" * 5_000) * 8
    subject = Subject(text)
    assert subject.has_bytes
    assert subject._utf8 is not None
    assert (subject._utf8._more.typecode, subject._utf8._bits) == ("Q", utf8.LARGE_BLOCK_BITS)
    for words in (["b1"], ["\U0001f680"], ["xx\U0001f680", "\xe9\u4e2d"]):
        wanted = [match.span() for match in re.finditer("|".join(words), text)]
        assert wanted or len(words) == 2
        assert found(Literals(words), text) == wanted


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(
        st.one_of(st.sampled_from("\xe9\u4e2d\U0001f680"), st.sampled_from("ab\n").map(lambda one: one * 9))
    ),
    chars=st.lists(st.integers(0, 99), max_size=9),
    bits=st.integers(0, 5),
)
def test_the_byte_of_a_character_is_the_same_from_wherever_one_comes(
    parts: list[str], chars: list[int], bits: int
) -> None:
    """Whether only ASCII lies between it and the character that was asked for before, or not; onwards and back."""
    setattr(utf8, "BLOCK_BITS", bits)  # noqa: B010  (a constant to the type checker)
    text = "".join(parts)
    whole = utf8.Utf8(text, memoryview(text.encode()))
    for char in chars:
        assert whole.byte(char) == len(text[:char].encode())


EVERY: Final = "".join(map(chr, range(0x110000)))
BLOCKS: Final = [EVERY[at : at + 256] for at in range(0, len(EVERY), 256)]
"""Most have no letter with a case; a million questions would take a third of a second wherever tests are collected."""


def has_case(text: str) -> bool:
    return text.lower() != text or text.upper() != text


CASED: Final = "".join(one for block in filter(has_case, BLOCKS) for one in block if has_case(one))


@pytest.mark.parametrize("pattern", [r"\w", r"\W", r"\d", r"\D", r"\s", r"\S", r"[^\W\d]", r"[\s\d]", r"(?a:\W)", r"."])
def test_a_class_has_just_the_characters_that_it_has_in_re(pattern: str) -> None:
    """Of all that there are, whatever version of Unicode RE2 was built with."""
    matcher = Expressions(Expression(f"(?:{pattern})+"))
    assert matcher.name == "re2"
    assert found(matcher, EVERY) == [match.span() for match in re.finditer(f"(?:{pattern})+", EVERY)]


@pytest.mark.parametrize("first", range(0, len(CASED), 97))
def test_a_letter_in_any_case_is_just_the_letters_that_it_is_in_re(first: int) -> None:
    """A sample of all that have a case."""
    for letter in {CASED[first], "k", "s", "i", "\xe5", "\u0130", "\u1e9e", "\u03c3", "\ufb05"}:
        pattern = re.escape(letter)
        wanted = [match.span() for match in re.finditer(pattern, CASED, re.IGNORECASE)]
        assert found(Expressions(Expression(pattern, ignore_case=True)), CASED) == wanted


@pytest.mark.parametrize(
    ("pattern", "text", "engine", "said"),
    [
        ("a+b", "xaab", "re2", ""),
        (r"\bk", "ok k", "re2", ""),
        (r"\bk", "\xe9k k", "re", "a word's border in a text that is not ASCII"),
        (r"a(?=b)", "ab", "re", "it looks around"),
        (r"(a)\1", "aa", "re", "a backreference"),
        (r"a{1001}", "b", "re", "more than 1,000 times"),
        (r"a*", "b", "re", "it matches the empty text"),
        (r"a\s+b", "a\nb", "re2", "may match across lines"),
        (r"\pL+", "\xe9a1", "re2", "may match across lines"),
        (r"[[:alpha:]]+", "ab1", "re2", "may match across lines"),
    ],
)
def test_what_searched_is_said(pattern: str, text: str, engine: str, said: str) -> None:
    """`re` where RE2 has nothing for it."""
    matcher = Expressions(Expression(pattern))
    found(matcher, text)
    assert matcher.name == engine
    assert said in matcher.note


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        (r"\d+ marker NEEDLE-0000[0-9]", " marker NEEDLE-0000"),
        (r"(x+x+)+y", "xx"),
        (r"ab+c", "ab"),
        (r"(?:ab){2,3}cd", "abcd"),
        (r"(a)(b)(c)\b(?=x)d", "abcd"),
        (r"(?:abc)?de", "de"),
        (r"abc|abd", "ab"),
        (r"(?i)abc", ""),
        (r"(?i:abc)de", "de"),
        (r"[ab]c\d", ""),
        (r"a*", ""),
    ],
)
def test_what_every_match_has_is_known_before_the_search(pattern: str, literal: str) -> None:
    """So that lines without it need not be searched."""
    assert Expression(pattern).literal == literal


@pytest.mark.parametrize(
    ("pattern", "lower"),
    [
        ("(?i)Time Out", b"time out"),
        ("Time", b""),
        ("(?i)t\xe9", b""),
        ("(?i)ti+", b""),
        ("(?i)", b""),
        (r"(?i)\pL", b""),
    ],
)
def test_a_string_of_ascii_in_any_case_is_known_before_the_search(pattern: str, lower: bytes) -> None:
    """The search for it is one for a word in text that was made lower case."""
    assert Expression(pattern).any_case == lower


@pytest.mark.parametrize("pattern", ["(", "[a", "a**", "(?P<x", r"\8", "*"])
def test_a_pattern_that_nobody_can_read_says_why(pattern: str) -> None:
    """In the words of `re`."""
    with pytest.raises(BadPattern, match="the pattern cannot be read"):
        Expression(pattern)


def test_a_pattern_of_re2_s_own_language_is_searched_by_it() -> None:
    """What `re` cannot read, or reads as something else."""
    assert found(Expressions(Expression(r"\pN+")), "a1\u0663b2") == [(1, 3), (4, 5)]
    assert found(Expressions(Expression(r"[[:digit:]]+")), "a12[b") == [(1, 3)]


@pytest.mark.parametrize("pattern", [r"(?s)b.*x", r"(x+x+)+y", r"([a-z]+)*=[0-9]+x", r"(?s)(.*)(.*)(.*)z", r"(x|xx)*y"])
def test_a_hostile_pattern_ends(pattern: str) -> None:
    """In time that grows with the text alone: `re` would take years for some of these."""
    assert found(Expressions(Expression(pattern)), "x" * 100_000) == []


def test_what_is_found_before_somebody_stops_looking_comes_at_once() -> None:
    """A whole document is searched in a thread, which ends when nobody wants more."""
    text = "ab\n" * 4_000_000
    matcher = Expressions(Expression(r"b\s+a"))
    spans = matcher.find(Subject(text), 0, len(text))
    first = next(iter(next(spans)))
    spans.close()  # type: ignore[attr-defined]  # a generator
    assert first == (1, 4)


def test_a_text_lives_as_long_as_a_search_reads_its_bytes() -> None:
    """One in a thread goes on until its call of RE2 ends, when the text may be nobody else's any more."""
    text = "ab\n" * 1_000
    before = sys.getrefcount(text)
    window = Subject(text).window(1, 999)
    assert sys.getrefcount(text) == before + 1
    del window
    assert sys.getrefcount(text) == before


HELD = """
import itertools, threading
from rlm_kernel_mcp.in_kernel.explore.matching.elsewhere import in_a_thread
from rlm_kernel_mcp.in_kernel.explore.matching.windows import Spans
held = in_a_thread(Spans([number], [number]) for number in itertools.count())
print(len(next(held)), [thread.name for thread in threading.enumerate()])
"""


def test_a_search_that_is_held_does_not_keep_its_interpreter_from_ending() -> None:
    """Its thread ends when the main thread has."""
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1 ['MainThread', 'search']\n"


def test_what_goes_wrong_in_the_thread_of_a_search_is_raised_where_it_is_wanted() -> None:
    """Behind what had been found before."""

    def made() -> Iterator[Spans]:
        yield Spans([1], [2])
        raise MemoryError

    spans = in_a_thread(made())
    assert list(next(spans)) == [(1, 2)]
    with pytest.raises(MemoryError):
        next(spans)


def test_utf_8_is_kept_only_where_the_kernel_has_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is found is the same."""
    asked: list[int] = []

    def has_none(size: int) -> bool:
        asked.append(size)
        return False

    monkeypatch.setattr("rlm_kernel_mcp.in_kernel.explore.sources.has_room", has_none)
    text = "Größe é\n" * 1_000
    source = Source("context", text, [("context", len(text), "utf-8", "strict")])
    assert not source.subject.has_bytes
    assert asked == [8 * len(text)]
    found = [span for spans in Literals(["é"]).find(source.subject, 0, len(text)) for span in spans]
    assert found == [(match.start(), match.end()) for match in re.finditer("é", text)]
