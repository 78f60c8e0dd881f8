"""Searches for a regular expression: with RE2 in linear time, with `re` where RE2 cannot.

Is: how much of the text is searched at once, so that the result is that of a search of the whole text. A pattern that
cannot match a line end sees windows of whole lines; one of bounded width, windows that overlap by that width; any
other, a document as a whole. Is not: what a pattern means (`explore/patterns/`). Above: `explore/searching.py`. Below:
`windows.py`, `literals.py`, `elsewhere.py`, `explore/patterns/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, Final

import re2

from rlm_kernel_mcp.in_kernel.explore.matching.elsewhere import AT_A_TIME, in_a_thread
from rlm_kernel_mcp.in_kernel.explore.matching.literals import Literals
from rlm_kernel_mcp.in_kernel.explore.matching.utf8 import encoded
from rlm_kernel_mcp.in_kernel.explore.matching.windows import (
    ENCODED_CHARS,
    Spans,
    Subject,
    Window,
    line_end,
    line_start,
    line_windows,
)
from rlm_kernel_mcp.in_kernel.explore.patterns.expression import Expression
from rlm_kernel_mcp.in_kernel.explore.patterns.translation import NotRe2

IN_THIS_THREAD: Final = 8 << 20
"""Characters that RE2 may search in one call: an interrupt waits that long."""
ENCODED_AT_ONCE: Final = 64 << 20
"""Largest document that is encoded at once for a pattern that has to see all of it, in characters."""
OVERLAP_CHARS: Final = 1 << 16
"""The widest match that windows overlap for."""
COMMON_BYTES: Final = 600
"""A string that every match contains is common if it occurs more than once in this many bytes: then searching each of
its lines takes longer than searching everything."""
COMMON_BYTES_BEGINNING: Final = 20_000
"""The same for a pattern whose first character RE2 itself can skip to."""
COMMON_WINDOWS: Final = 31
"""Windows that are searched in full after one in which that string was common."""
FEW: Final = 1 << 18
"""Matches that are made at once, and bytes that are searched for one of which there may be one at each of them: each is
an object of 130 bytes, and a line may have megabytes."""
RUN_BYTES: Final = 64
"""How far to look first for where a run of one class begins."""
COPIED_BYTES: Final = 1 << 15
LOWER_CHARS: Final = 1 << 16
"""Window that is made lower case: in larger ones that takes three times as long, page by page of new memory."""
MIXED_CHARS: Final = 1 << 15
"""Window in a part of the text that is not ASCII: most of what is around it is, and is quicker to search."""
_ANYWHERE: Final = re2._Anchor.UNANCHORED


class Expressions:
    """Finds one pattern in texts."""

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        least, most = expression.widths
        width = None if most is None or most > OVERLAP_CHARS or expression.is_anchored else most
        self._overlap = width if expression.crosses else None
        self._whole = expression.is_anchored or (expression.crosses and width is None)
        self.apart = expression.crosses or expression.is_anchored
        self._empty = expression.python is not None and least == 0
        self._re2 = cache(expression.re2)
        self._rare = Literals([expression.literal]) if expression.literal else None
        self._lower = Literals([expression.any_case.decode()]) if expression.any_case else None
        self._common = COMMON_BYTES_BEGINNING if expression.begins_with else COMMON_BYTES
        self.begin()

    def begin(self) -> None:
        """Begin a search; `name` and `note` will say which engine did it, and what was special about it."""
        self.name, self.note = "re2", ""
        if self._empty:
            self._use_re("it matches the empty text")
        elif self._whole:
            self.note = "the pattern may match across lines, so that each document was searched as a whole"

    def find(self, subject: Subject, start: int, end: int) -> Iterator[Spans]:
        """The matches in a part of a text, in batches, in order, none overlapping another."""
        if self._empty:
            return self._by_re(subject.text, start, end)
        try:
            pattern = self._re2(is_ascii=subject.is_ascii)
        except NotRe2 as error:
            self._use_re(str(error))
            return self._by_re_where_likely(subject, start, end)
        if self._overlap is not None:
            return self._overlapping(pattern, subject, start, end)
        if not self._whole:
            return self._by_lines(pattern, subject, start, end)
        if subject.has_bytes or end - start <= ENCODED_AT_ONCE or self.expression.python is None:
            return self._at_once(pattern, subject, start, end)
        self._use_re("it has to see a document as a whole, which is large and not ASCII")
        return self._by_re(subject.text, start, end)

    def groups(
        self, subject: Subject, start: int, end: int, span: tuple[int, int], *, by_re: bool
    ) -> tuple[str | None, ...]:
        """What the groups captured in a match. `start`, `end`: the part of the text in which it was found."""
        python = self.expression.python
        if python is not None and not python.groups:
            return ()
        text, (first, last) = subject.text, span
        if python is not None and by_re:
            if not self.apart:
                start, end = line_start(text, start, first), line_end(text, last, end)
            found = python.match(text[start:end], first - start)
            return tuple(found.groups()) if found is not None else ()
        low, high = max(start, first - 1), min(end, last + 1)  # `\b` and `^` depend on the neighbours
        place = len(encoded(text[low:first]))
        match = self._re2(is_ascii=subject.is_ascii, groups=True).fullmatch(
            encoded(text[low:high]), place, place + len(encoded(text[first:last]))
        )
        given = match.groups() if match is not None else ()
        return tuple(None if one is None else one.decode("utf-8", "surrogatepass") for one in given)

    def _use_re(self, why: str) -> None:
        self.name, self.note = "re", f"`re` was used, which may be slow: {why}"

    def _by_lines(self, pattern: Any, subject: Subject, start: int, end: int) -> Iterator[Spans]:
        skip = 0
        for window in self._windows(subject, start, end):
            if len(window.raw) > IN_THIS_THREAD:  # one line
                yield from in_a_thread(_batches(pattern, window))
                continue
            if window.is_plain and self._lower is not None and len(window.raw) <= FEW:
                if spans := self._lower.in_bytes(bytes(window.raw).lower()):
                    yield window.chars(spans)
                continue
            is_quick = window.is_plain and self.expression.run
            most = FEW if is_quick else len(window.raw) // self._common
            rare = self._rare if is_quick or not skip else None
            places = None if rare is None else rare.few_in_bytes(window.raw, most)
            if places is not None:
                if places and (spans := self._at(pattern, window, places)):
                    yield window.chars(spans)
                continue
            # Common in one window, it will be in the next ones too: looking for it first costs more than it saves.
            skip = COMMON_WINDOWS if rare is not None else max(0, skip - 1)
            yield from _batches(pattern, window)

    def _windows(self, subject: Subject, start: int, end: int) -> Iterator[Window]:
        """A part of a text in windows of whole lines, small ones where it is not ASCII and that makes a difference."""
        text, is_quick = subject.text, self.expression.run and subject.has_bytes
        size = subject.window_chars if self._lower is None else min(LOWER_CHARS, subject.window_chars)
        for first, last in line_windows(text, start, end, size):
            window = subject.window(first, last)
            if not is_quick or window.is_plain or last - first <= MIXED_CHARS:
                yield window
            else:
                yield from (subject.window(*part) for part in line_windows(text, first, last, MIXED_CHARS))

    def _at(self, pattern: Any, window: Window, places: Spans) -> Spans:
        """The matches in the lines with the string that every match contains."""
        if window.is_plain and self.expression.run:
            return _behind_runs(window.raw, self.expression.run, places)
        return _near(pattern, window.data, places)

    def _overlapping(self, pattern: Any, subject: Subject, start: int, end: int) -> Iterator[Spans]:
        assert self._overlap is not None
        text, begin = subject.text, start
        chars = max(subject.window_chars, 4 * self._overlap)
        while start < end:
            # One character more on each side, which `\b` and `^` depend on.
            low, stop, done = max(begin, start - 1), min(end, start + chars), start
            window = subject.window(low, stop)
            # A match that begins later might be longer than this window shows: the next window finds it.
            settled = end if stop == end else stop - self._overlap - 1
            for spans in _batches(pattern, window, len(encoded(text[low:start]))):
                spans.drop_from(settled)
                if spans:
                    done = spans.end
                    yield spans
            start = end if stop == end else max(settled, done)

    def _at_once(self, pattern: Any, subject: Subject, start: int, end: int) -> Iterator[Spans]:
        made = _batches(pattern, subject.window(start, end))
        return in_a_thread(made) if end - start > IN_THIS_THREAD else made

    def _by_re_where_likely(self, subject: Subject, start: int, end: int) -> Iterator[Spans]:
        """With `re`, but only in lines where a looser pattern matches that RE2 can search for."""
        loose = None if self.apart else self._loose(subject)
        if loose is None:
            yield from self._by_re(subject.text, start, end)
            return
        for first, last in line_windows(subject.text, start, end, subject.window_chars):
            done = first
            for spans in _batches(loose, subject.window(first, last)):
                for place, _ in spans:
                    if place >= done:
                        low = line_start(subject.text, done, place)
                        done = line_end(subject.text, place, last)
                        yield from self._by_re(subject.text, low, done)

    def _loose(self, subject: Subject) -> Any:
        try:
            pattern = self._re2(is_ascii=subject.is_ascii, loose=True)
        except NotRe2:
            return None
        # One that matches the empty text matches in every line, and would save nothing.
        return None if pattern.search(b"") is not None else pattern

    def _by_re(self, text: str, start: int, end: int) -> Iterator[Spans]:
        python = self.expression.python
        assert python is not None
        is_one = self.apart or start == end
        parts = [(start, end)] if is_one else line_windows(text, start, end, ENCODED_CHARS)
        find: Callable[[str], Iterator[re.Match[str]]] = python.finditer
        for first, last in parts:
            # A copy, since `pos` and `endpos` would let lookbehind see what is outside.
            matches = find(text[first:last])
            while batch := [match.span() for match in islice(matches, AT_A_TIME)]:
                spans = Spans([low for low, _ in batch], [high for _, high in batch], first)
                if last < end:
                    spans.drop_from(last)  # an empty match after the last line end belongs to the next window
                yield spans


def _batches(pattern: Any, window: Window, start: int = 0) -> Iterator[Spans]:
    """What RE2 finds in a window, like its own `finditer`, in characters and in batches.

    Without an object for each match, which would double the time. Empty matches are left out: a pattern that `re` can
    parse has none here.
    """
    match, raw, end = pattern._regexp.Match, window.raw, len(window.raw)
    while start < end:
        starts, ends = list[int](), list[int]()
        while len(starts) < AT_A_TIME:
            first, last = match(_ANYWHERE, raw, start, end)[0]
            if first < 0:
                start = end
                break
            if first < last:
                starts.append(first)
                ends.append(last)
                start = last
            else:
                start = last + 1
                if start > end:
                    break
        if starts:
            yield window.chars(Spans(starts, ends))


def _behind_runs(raw: bytes | memoryview, run: bytes, places: Spans) -> Spans:
    """The matches of `Expression.run`, in ASCII, without RE2: a call of it takes half a microsecond by itself."""
    starts, ends, done = list[int](), list[int](), 0
    copy, base, behind = b"", 0, 0  # in pieces: a part of a memoryview takes twice as long as one of bytes
    for first, last in zip(places.starts, places.ends, strict=True):
        low = max(done, first - RUN_BYTES)
        if first > behind:
            copy, base = bytes(raw[low : first + COPIED_BYTES]), low
            behind = base + len(copy)
        start = low + len(copy[low - base : first - base].rstrip(run))
        if start == low > done:
            start = done + len(bytes(raw[done:first]).rstrip(run))
        if start < first:
            starts.append(start)
            ends.append(last)
        done = last if start < first else first + 1  # what is behind a string's first character may begin a run
    return Spans(starts, ends)


def _near(pattern: Any, data: bytes, places: Spans) -> Spans:
    """The matches of a pattern that cannot match a line end, in the lines with a string that every match contains."""
    match, starts, ends, done, high = pattern._regexp.Match, list[int](), list[int](), 0, 0
    for first, last in places:
        while done < last:  # a match may end inside the string, and another one begin there
            low = data.rfind(b"\n", done, first) + 1 or done
            if high < last:
                high = data.find(b"\n", last) + 1 or len(data)
            start, end = match(_ANYWHERE, data, low, high)[0]
            if start < 0:
                done = high
            elif start < end:
                starts.append(start)
                ends.append(end)
                done = end
            else:
                done = end + 1
    return Spans(starts, ends)
