"""Searches for literal words, one or many at a time.

Is: Aho-Corasick over windows that overlap by the longest word, so that none is cut. Is not: a regular expression, nor a
search that ignores case (`expressions.py`). Above: `explore/`. Below: `windows.py`, ahocorasick_rs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from rlm_kernel_mcp.in_kernel.explore.matching.utf8 import encoded
from rlm_kernel_mcp.in_kernel.explore.matching.windows import Spans, Subject

WINDOW_CHARS: Final = 1 << 18
"""Each match in a window is an object of 130 bytes, and there may be one at every character."""
VECTOR_WORDS: Final = 64
"""The most words that the library compares by vectors; at worst it compares each of them to its end at every byte."""
VECTOR_BYTES: Final = 3_200
"""Of all words, up to which that is bearable."""
COMPARED_BYTES: Final = 1 << 26
"""In one window at worst, in 10 ms: the more bytes the words have, the smaller it is."""
ASKED_WORDS: Final = 29
_NOWHERE: Final = tuple(bytes([byte]) * 4 for byte in (0xFD, 0xFE, 0xFF))
"""What no UTF-8 has. The library looks for bytes that any word begins with or has, where there are at most 3 of them,
and then goes from byte to byte; with these there are more, and it compares the beginnings of all words by vectors:
in 0.2 of the time if two words are frequent, in 0.6 if 20 have one rare byte (decision 0123)."""
TABLE_STEPS: Final = 20_000_000
"""To make the library's quickest automaton, at worst: for words that repeat themselves it goes from each byte back to
the beginning, once for each byte there is. 20 ms; the other automaton takes one step a byte, and searches more slowly.
"""
_START: Final = itemgetter(1)
_END: Final = itemgetter(2)


class Literals:
    """Finds words. If two match at one place, the one that was given first wins, as in `re`'s `a|b`."""

    name = "ahocorasick"
    note = ""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._longest, self._is_ascii = max(map(len, words)), all(map(str.isascii, words))
        raw = list(map(encoded, words))
        self._longest_bytes = max(map(len, raw))
        self._most_chars, compared = COMPARED_BYTES, sum(map(len, raw))
        if 1 < len(raw) <= VECTOR_WORDS:
            if compared > VECTOR_BYTES:
                raw += _NOWHERE * (VECTOR_WORDS // len(_NOWHERE))  # now there are too many for vectors
            else:
                self._most_chars //= compared
                if len(raw) <= ASKED_WORDS and min(map(len, raw)) > 1:
                    raw += _NOWHERE
        steps = len(set().union(*raw)) * sum(len(word) ** 2 for word in raw)
        automaton = Implementation.ContiguousNFA if steps > TABLE_STEPS else None
        self._found = BytesAhoCorasick(raw, MatchKind.LeftmostFirst, automaton).find_matches_as_indexes
        self.apart = any("\n" in word for word in words)

    def begin(self) -> None:
        """Begin a search; there is no state to reset."""

    def find(self, subject: Subject, start: int, end: int) -> Iterator[Spans]:
        """The matches in a part of a text, some at a time, in order, and none over another."""
        chars = max(min(WINDOW_CHARS, self._most_chars, subject.window_chars), 4 * self._longest)
        while start < end:
            stop = min(end, start + chars)
            window = subject.window(start, stop)
            spans = window.chars(self.in_bytes(window.raw), is_ascii=self._is_ascii)
            # A match that begins later might be the beginning of a longer word that the window cuts.
            settled = end if stop == end else stop - self._longest + 1
            spans.drop_from(settled)
            if spans:
                yield spans
            start = end if stop == end else max(settled, spans.end if spans else 0)

    def few_in_bytes(self, raw: bytes | memoryview, most: int) -> Spans | None:
        """All matches of one word in a window of any size, in its bytes; None if there are more than `most`."""
        starts, ends, start, step = list[int](), list[int](), 0, max(WINDOW_CHARS, 4 * self._longest_bytes)
        while start < len(raw):
            stop = min(len(raw), start + step)
            spans = self.in_bytes(raw[start:stop] if stop - start < len(raw) else raw)
            starts += [start + place for place in spans.starts] if start else spans.starts
            ends += [start + place for place in spans.ends] if start else spans.ends
            if len(starts) > most:
                return None
            start = stop if stop == len(raw) else max(stop - self._longest_bytes + 1, ends[-1] if ends else 0)
        return Spans(starts, ends)

    def in_bytes(self, raw: bytes | memoryview) -> Spans:
        """All matches in a window, in its bytes."""
        found = self._found(raw)
        return Spans(list(map(_START, found)), list(map(_END, found)))
