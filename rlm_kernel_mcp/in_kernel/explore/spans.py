"""A part of a text that knows where it is: in its context and document, in characters, bytes and lines.

Is: `Span`, with `Hit` and `Chunk`, which are spans too; `lines` and `span`, which make one from numbers. Is not: a copy
of any text. Above: the modules beside it. Below: `sources.py`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.explore.matching.windows import line_end, line_start
from rlm_kernel_mcp.in_kernel.explore.sources import Source, Stretch, one_document, source_named
from rlm_kernel_mcp.in_kernel.explore.usage import spans as taken
from rlm_kernel_mcp.in_kernel.explore.usage import used

REPR_CHARS: Final = 900
"""Characters of the repr of any result."""
EXCERPT_CHARS: Final = 120
TEXT_CHARS: Final = 600
"""Characters of a span's text in its own repr."""
_take: Final = taken.append
"""Notes a span whose text somebody takes."""


def shown(text: str, chars: int = EXCERPT_CHARS) -> str:
    """A text on one line, with control characters escaped, cut to a length."""
    # Escaping never shortens, so nothing beyond this many characters can be shown.
    plain = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text[: chars + 1])
    return plain if len(plain) <= chars and len(text) <= chars else f"{plain[: chars - 1]}…"


class Span:
    """A part of a text.

    `start`, `end`: in characters of its context: `context[s.start:s.end] == s.text`. `doc`: its document. `chars`,
    `bytes`: (start, end) in its document, `bytes` in its file. `line`, `last_line`: in its document, from 1, as
    `grep -n` counts. `text`; `before(n)`, `after(n)`: n characters on that side; `lines(n)`: its whole lines, and n
    more on each side.
    """

    __slots__ = ("_source", "end", "start")

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._source, self.start, self.end = source, start, end

    @property
    def text(self) -> str:
        """Its characters."""
        text = self._source.text[self.start : self.end]
        _take(self)
        return text

    @property
    def _text(self) -> str:
        """The same for our own use, which shows it to nobody."""
        return self._source.text[self.start : self.end]

    @property
    def context(self) -> str:
        """The name of its context."""
        return self._source.name

    @property
    def doc(self) -> str:
        """The name of the document in which it begins."""
        return self._source.documents[self._index]

    @property
    def chars(self) -> tuple[int, int]:
        """Start and end in characters of its document."""
        first = self._source.starts[self._index]
        return self.start - first, self.end - first

    @property
    def bytes(self) -> tuple[int, int]:
        """Start and end in bytes of its document's file."""
        return self._source.byte(self._index, self.start), self._source.byte(self._index, self.end)

    @property
    def line(self) -> int:
        """The line in which it begins, from 1, in its document."""
        ends = self._source.lines.ends_before
        return ends(self.start) - ends(self._source.starts[self._index]) + 1

    @property
    def last_line(self) -> int:
        """The line of its last character."""
        ends = self._source.lines.ends_before
        last = max(self.start, self.end - 1)
        return ends(last) - ends(self._source.starts[self._index]) + 1

    def before(self, chars: int = 200) -> str:
        """The characters before it, in its document."""
        first = max(self._source.starts[self._index], self.start - chars)
        _take((self._source, first, self.start))
        return self._source.text[first : self.start]

    def after(self, chars: int = 200) -> str:
        """The characters after it, in its document."""
        last = min(self._document_end, self.end + chars)
        _take((self._source, self.end, last))
        return self._source.text[self.end : last]

    def lines(self, around: int = 0) -> Span:
        """Its whole lines, and `around` more before and after, in its document."""
        text, first, last = self._source.text, self._source.starts[self._index], self._document_end
        start = line_start(text, first, self.start)
        whole = self.end > self.start and text[self.end - 1] == "\n"
        end = self.end if whole else line_end(text, self.end, last)
        for _ in range(around):
            start = line_start(text, first, start - 1)
            end = line_end(text, end, last)
        return Span(self._source, start, end)

    def __len__(self) -> int:
        return self.end - self.start

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Span):
            return False
        # By name: after a restore, the source is another object.
        return (self.context, self.start, self.end) == (other.context, other.start, other.end)

    def __hash__(self) -> int:
        return hash((self.context, self.start, self.end))

    def __repr__(self) -> str:
        lines = f"line {self.line:,}" if self.line == self.last_line else f"lines {self.line:,} to {self.last_line:,}"
        return f"{self.place}: {lines}, {len(self):,} characters\n{shown_lines(self.text)}"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Only its place."""
        return _again, (type(self), self.context, self.start, self.end)

    @property
    def place(self) -> str:
        """Its document's name, or its context's if that has a single document."""
        return shown(self.doc if len(self._source.documents) > 1 else self._source.name)

    @property
    def _stretch(self) -> Stretch:
        return Stretch(self._source, self.start, self.end)

    @property
    def _index(self) -> int:
        return self._source.index_at(self.start)

    @property
    def _document_end(self) -> int:
        return max(self.end, self._source.starts[self._index + 1])


def _again(kind: type[Span], context: str, start: int, end: int, *more: Any) -> Span:
    return kind(source_named(context), start, end, *more)


def shown_lines(text: str, chars: int = TEXT_CHARS) -> str:
    """The first lines of a text, cut to a length."""
    lines, left = [], chars
    for line in re.split(r"\r?\n", re.sub(r"\r?\n\Z", "", text[: chars + 1])):
        lines.append(shown(line, max(left, 2)))
        left -= len(lines[-1]) + 1
        if left <= 0:
            break
    more = "" if len(text) <= chars else f"\n… {len(text) - chars:,} more characters"
    return "\n".join(lines) + more


class Hit(Span):
    """A match: a span with `groups`, what the pattern's groups captured. `score`: its rank, higher is better."""

    __slots__ = ("groups", "score")

    def __init__(
        self, source: Source, start: int, end: int, groups: tuple[str | None, ...] = (), score: float | None = None
    ) -> None:
        super().__init__(source, start, end)
        self.groups, self.score = groups, score

    def excerpt(self, chars: int = EXCERPT_CHARS) -> str:
        """The line with the match, or a part of it, on one line."""
        text, first = self._source.text, self._source.starts[self._index]
        low = max(first, self.start - chars // 3)
        low = max(low, text.rfind("\n", low, self.start) + 1)
        high = min(low + chars + 1, self._document_end)
        if self.end > high or text.find("\n", self.start, self.end - 1) >= 0:  # too long: only the match
            low, high = self.start, min(self.end, self.start + chars + 1)
        else:
            end = text.find("\n", max(self.start, self.end - 1), high)
            high = high if end < 0 else end
            if end > self.end and text[end - 1] == "\r":  # of the line's end
                high -= 1
        return shown(text[low:high], chars)

    def __repr__(self) -> str:
        score = "" if self.score is None else f" ({self.score:.2f})"
        groups = f" groups {shown(repr(self.groups), 200)}" if self.groups else ""
        _take(self)
        return f"{self.place}:{self.line}: {self.excerpt()}{score}{groups}"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Its place, groups and score."""
        return _again, (type(self), self.context, self.start, self.end, self.groups, self.score)


class Chunk(Span):
    """A part of a document, one of `chunks`."""

    __slots__ = ()


def span(start: int, end: int | None = None, doc: str | None = None) -> Span:
    """The characters from `start` up to `end` of a document (of the first context without `doc`), as in a slice.

    The Span knows doc, start, end, chars, bytes, line, last_line, text, before(n), after(n), lines(n).
    """
    used("span")
    return spanned(start, end, doc)


def spanned(start: int, end: int | None, doc: str | None = None) -> Span:
    """As `span`."""
    part = one_document(doc)
    first, last, _ = slice(start, end).indices(part.end - part.start)
    return Span(part.source, part.start + first, part.start + max(first, last))


def lines(first: int, last: int | None = None, doc: str | None = None) -> Span:
    """Lines `first` to `last` of a document (of the first context without `doc`), from 1; one line without `last`.

    Counted as by `grep -n`: a line ends with a line feed, and a carriage return belongs to it. -1 is the last line.
    """
    used("lines")
    if any(isinstance(one, str) for one in (first, last)):
        raise TypeError("first and last are numbers of lines, and the document comes behind them: lines(3, 9, doc)")
    part = one_document(doc)
    source = part.source
    places, before = source.lines, source.lines.ends_before(part.start)
    if min(first, first if last is None else last) <= 0:
        count = count_lines(part)
        last = first if last is None else last
        first, last = (number + count + 1 if number < 0 else number for number in (first, last))
    last = first if last is None else last
    start = places.line_start(before + first - 1) if first > 0 else None
    if start is None or start >= part.end or first > last:
        raise IndexError(f"no lines {first:,} to {last:,}: there are {count_lines(part):,}, counted from 1")
    end = places.line_start(before + last)
    return Span(source, start, part.end if end is None else min(end, part.end))


def count_lines(part: Stretch) -> int:
    """The number of lines in a part of a text, including a last one without a line end."""
    ends, text = part.source.lines.ends_before, part.source.text
    return ends(part.end) - ends(part.start) + (part.start < part.end and not text.endswith("\n", part.start, part.end))
