"""What the library that looks for words is given, so that no call of it takes long: not for any words, in any text."""

from __future__ import annotations

import re
import time
from typing import Final, NamedTuple

import pytest
from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.in_kernel.explore.matching import literals
from rlm_kernel_mcp.in_kernel.explore.matching.expressions import Expressions
from rlm_kernel_mcp.in_kernel.explore.matching.literals import Literals
from rlm_kernel_mcp.in_kernel.explore.matching.windows import Spans, Subject
from rlm_kernel_mcp.in_kernel.explore.patterns.expression import Expression

COMPARED: Final = 1 << 26
"""Bytes compared in one call at worst: 10 ms where nothing else runs."""
STEPS: Final = 20_000_000
"""To make the automaton's table, at worst: 20 ms."""
BY_VECTORS: Final = 64
"""The most words that the library compares by vectors, each of them at worst at every byte to its end."""


class Given(NamedTuple):
    """What the library was given for some words, and how much of a text at a time."""

    words: list[bytes]
    automaton: Implementation | None
    largest: int


def given_to_the_library(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Given:
    """While the words are looked for in a long row of one letter."""
    calls, sizes = list[tuple[list[bytes], Implementation | None]](), list[int]()

    class Noting:
        def __init__(self, given: list[bytes], kind: MatchKind, automaton: Implementation | None = None) -> None:
            calls.append((list(given), automaton))
            self._found = BytesAhoCorasick(given, kind, automaton)

        def find_matches_as_indexes(self, raw: bytes | memoryview) -> list[tuple[int, int, int]]:
            sizes.append(len(raw))
            return self._found.find_matches_as_indexes(raw)

    monkeypatch.setattr(literals, "BytesAhoCorasick", Noting)
    assert not found(words, "a" * 600_000)
    ((handed, automaton),) = calls
    return Given(handed, automaton, max(sizes))


def found(words: list[str], text: str) -> list[tuple[int, int]]:
    """Every match in a text."""
    return [span for spans in Literals(words).find(Subject(text), 0, len(text)) for span in spans]


def beginning_alike(count: int, size: int) -> list[str]:
    """Words that a long row of one letter is like nearly to their ends, and three that it is not like at all."""
    alike = ["a" * (size - 2) + chr(98 + number // 16) + chr(98 + number % 16) for number in range(count)]
    return [*alike, "bb", "cc", "dd"]


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, 256), (1, 20_000), (2, 1_500), (20, 20), (20, 256), (20, 2_000), (61, 6), (61, 52), (61, 99)],
)
def test_one_call_compares_no_more_than_an_interrupt_may_wait_for(
    count: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows are smaller for longer words, and with too many words beside them the library compares none to its end.

    Nor does what is made of the words before the search take as long as their lengths multiplied.
    """
    words = beginning_alike(count, size)
    handed = given_to_the_library(words, monkeypatch)
    assert handed.words[: len(words)] == [word.encode() for word in words]
    assert len(handed.words) > BY_VECTORS or handed.largest * sum(map(len, words)) <= COMPARED
    assert handed.automaton or len(set("".join(words))) * sum(len(word) ** 2 for word in words) <= STEPS


@pytest.mark.parametrize("word", ["a" * 20_000, "ab" * 10_000])
def test_a_long_word_that_repeats_itself_needs_no_table(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote of 20,000 equal characters took a second before the search for it began, which no interrupt ended."""
    handed = given_to_the_library([f"{word}b"], monkeypatch)
    assert (handed.words, handed.automaton) == ([f"{word}b".encode()], Implementation.ContiguousNFA)


def test_with_so_many_words_the_library_does_not_compare_each_to_its_end() -> None:
    """In processor time, with a margin of a hundred: it took a thousand times as long for long words as for short."""

    def least_s(words: list[str]) -> float:
        matcher, taken, row = Literals(words), list[float](), b"a" * (1 << 18)
        for _ in range(3):
            began = time.thread_time()
            assert not matcher.in_bytes(row)
            taken.append(time.thread_time() - began)
        return min(taken)

    assert least_s(beginning_alike(20, 2_000)) < 100 * least_s(beginning_alike(100, 6))


@settings(max_examples=50, deadline=None)
@given(
    words=st.lists(
        st.tuples(st.text("ab\n\xe9\U0001f680", min_size=1, max_size=3), st.integers(1, 900)), min_size=1, max_size=6
    ),
    picks=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=8),
    between=st.sampled_from(["", "\n", "x", "\xe9"]),
)
def test_long_words_are_found_just_where_re_finds_one_or_the_other(
    words: list[tuple[str, int]], picks: list[tuple[int, bool]], between: str
) -> None:
    """Whatever the library is given beside them, and also where a window's border cuts one."""
    long = [letters * times for letters, times in words]
    text = between.join(long[pick % len(long)][cut:] for pick, cut in picks)
    wanted = [match.span() for match in re.finditer("|".join(map(re.escape, long)), text)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(literals, "WINDOW_CHARS", 16)
        assert found(long, text) == wanted
    assert found(long, text) == wanted


@pytest.mark.parametrize(
    ("pattern", "line", "wanted"),
    [
        ("a", "aA", 1 << 20),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in ((r"a[0-9]", "a7", 1 << 19), (r"[0-9]+a", "7a", 1 << 19), (r"[0-9]*a", "aa", 1 << 20))
        ),
    ],
)
def test_a_line_of_megabytes_is_not_matched_at_once(
    pattern: str, line: str, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each match of the library is an object: a line of 8 MB with one at each byte took a gigabyte."""
    most, plain = [0], Literals.in_bytes

    def noting(self: Literals, raw: bytes | memoryview) -> Spans:
        spans = plain(self, raw)
        most.append(len(spans))
        return spans

    monkeypatch.setattr(Literals, "in_bytes", noting)
    text, count = line * (1 << 19), 0
    expression = Expression(pattern, ignore_case=pattern == "a")
    for spans in Expressions(expression).find(Subject(text), 0, len(text)):
        count += len(spans)
    assert count == wanted
    assert max(most) <= 1 << 18


@settings(max_examples=100, deadline=None)
@given(text=st.text("ab\xe9", max_size=200), word=st.text("ab\xe9", min_size=1, max_size=4), most=st.integers(0, 40))
def test_a_word_is_found_in_pieces_as_at_once_unless_it_is_frequent(text: str, word: str, most: int) -> None:
    """Wherever a piece ends."""
    at_once = Literals([word]).in_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(literals, "WINDOW_CHARS", 16)
        in_pieces = Literals([word]).few_in_bytes(text.encode(), most)
    assert (None if in_pieces is None else list(in_pieces)) == (list(at_once) if len(at_once) <= most else None)
