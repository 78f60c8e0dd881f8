"""Searches for literal words, one or many at a time.

Is: Aho-Corasick over windows that overlap by the longest word, so that none is cut. Is not: a regular expression, nor a
search that ignores case (`expressions.py`). Above: `explore/`. Below: `windows.py`, ahocorasick_rs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ahocorasick_rs import BytesAhoCorasick, MatchKind

from rlm_kernel_mcp.in_kernel.explore.matching.utf8 import encoded
from rlm_kernel_mcp.in_kernel.explore.matching.windows import Spans, Subject

WINDOW_CHARS: Final = 1 << 18
"""Each match in a window is an object of 130 bytes, and there may be one at every character."""


class Literals:
    """Finds words. If two match at one place, the one that was given first wins, as in `re`'s `a|b`."""

    name = "ahocorasick"
    note = ""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._longest, self._is_ascii = max(map(len, words)), all(map(str.isascii, words))
        self._found = BytesAhoCorasick(list(map(encoded, words)), MatchKind.LeftmostFirst).find_matches_as_indexes
        self.apart = any("\n" in word for word in words)

    def begin(self) -> None:
        """Begin a search; there is no state to reset."""

    def find(self, subject: Subject, start: int, end: int) -> Iterator[Spans]:
        """The matches in a part of a text, some at a time, in order, and none over another."""
        chars = max(min(WINDOW_CHARS, subject.window_chars), 4 * self._longest)
        while start < end:
            stop = min(end, start + chars)
            window = subject.window(start, stop)
            is_plain, raw = window.is_plain, window.raw
            spans = self.in_bytes(raw, start) if is_plain else window.chars(self.in_bytes(raw), is_ascii=self._is_ascii)
            # A match that begins later might be the beginning of a longer word that the window cuts.
            settled = end if stop == end else stop - self._longest + 1
            spans.drop_from(settled)
            if spans:
                yield spans
            start = end if stop == end else max(settled, spans.ends[-1] if spans else 0)

    def in_bytes(self, raw: bytes | memoryview, base: int = 0) -> Spans:
        """All matches in a window, in its bytes, counted from `base`."""
        found = self._found(raw)
        return Spans([base + first for _, first, _ in found], [base + last for _, _, last in found])
