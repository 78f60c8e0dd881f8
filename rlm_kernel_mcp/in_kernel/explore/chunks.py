r"""`chunks`: the texts in parts of a given size, cut at sensible boundaries.

Is: where to cut, found only as far as somebody looks. Joined, the chunks of a document are the document (without
`overlap`). Is not: a copy: a chunk is a span. Above: `in_kernel/namespace/`, `ranking.py`. Below: `spans.py`,
`sources.py`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, overload

from rlm_kernel_mcp.in_kernel.explore.hits import listed
from rlm_kernel_mcp.in_kernel.explore.sources import Source, Stretch, stretches
from rlm_kernel_mcp.in_kernel.explore.spans import Chunk, shown
from rlm_kernel_mcp.in_kernel.explore.usage import used

_BLANK: Final = re.compile(r"\n[ \t\r]*\n")
_HEADING: Final = re.compile(r"^(?:#{1,6} \S|[^\n\r]{1,200}\r?\n(?:=====*|-----*)\r?$)", re.MULTILINE)
FIRST: Final = 5
"""Chunks in a repr."""
HEADING_CHARS: Final = 1 << 16
"""How far to look for a heading in one call of `re`, which no interrupt can stop."""


def _by_chars(text: str, start: int, stop: int, end: int) -> int:
    del text, start
    return min(stop, end)


def _by_lines(text: str, start: int, stop: int, end: int) -> int:
    return end if stop >= end else text.rfind("\n", start, stop) + 1 or stop


def _by_paragraphs(text: str, start: int, stop: int, end: int) -> int:
    if stop >= end:
        return end
    # The last blank line that fits: `re` cannot search backwards, so ever larger parts before `stop` are searched.
    back = 256
    while True:
        low = max(start, stop - back)
        found = [match.end() for match in _BLANK.finditer(text, low, stop)]
        if found:
            return found[-1]
        if low == start:
            return _by_lines(text, start, stop, end)
        back *= 4


def _by_headings(text: str, start: int, stop: int, end: int) -> int:
    low, limit = start + 1, min(stop, end)
    while low < limit:
        high = min(limit, low + HEADING_CHARS)
        # A little further, for a heading that the boundary cuts. With `pos` (not a slice) `^` still sees the text
        # before.
        found = _HEADING.search(text, low, min(end, high + 256))
        if found is not None and found.start() < limit:
            return found.start()
        low = high
    return _by_paragraphs(text, start, stop, end)


def _by_documents(text: str, start: int, stop: int, end: int) -> int:
    del text, start, stop
    return end


Cut = Callable[[str, int, int, int], int]
WAYS: Final[dict[str, Cut]] = {
    "chars": _by_chars,
    "lines": _by_lines,
    "paragraphs": _by_paragraphs,
    "headings": _by_headings,
    "documents": _by_documents,
}
"""Each finds where a chunk from `start` ends, at `stop` at the latest, in a document that ends at `end`."""


class Chunks(Sequence[Chunk]):
    """Parts of the texts: `len(c)`, `c[0]` (a Chunk, which is a Span), `c[2:5]`, iteration. Cut as far as is needed."""

    __slots__ = ("_cut", "_cuts", "_ends", "_overlap", "_parts", "_pending", "_sources", "_starts", "by", "size")

    def __init__(self, parts: Sequence[Stretch], size: int, by: str, overlap: int) -> None:
        self.size, self.by = size, by
        self._parts, self._cut, self._overlap = list(parts), WAYS[by], overlap
        self._sources: list[Source] = []
        self._starts, self._ends = array("Q"), array("Q")
        self._cuts: list[tuple[int, Source]] = []
        """The number of the first chunk of each source, with the source."""
        self._pending = self._made()

    @property
    def parts(self) -> list[Stretch]:
        """The parts of texts that they are cut from."""
        return self._parts

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for chunks that are cut from the same text in the same way."""
        parts = tuple((id(part.source), part.start, part.end) for part in self._parts)
        return parts, self.size, self.by, self._overlap

    def __len__(self) -> int:
        for _ in self._pending:
            pass
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> list[Chunk]: ...
    def __getitem__(self, index: int | slice) -> Chunk | list[Chunk]:
        """One chunk, or a list of chunks."""
        if isinstance(index, slice):
            return [self._chunk(place) for place in range(len(self))[index]]
        if index < 0 or not self._has(index):
            index = range(len(self))[index]
        return self._chunk(index)

    def __iter__(self) -> Iterator[Chunk]:
        index = 0
        while self._has(index):
            yield self._chunk(index)
            index += 1

    def __repr__(self) -> str:
        self._has(FIRST)
        # A generator that has finished has no frame: everything is cut by now.
        is_whole = self._pending.gi_frame is None
        count = f"{len(self._starts):,} chunks" if is_whole else "chunks, cut as they are asked for,"
        head = f"{count} by {self.by} of up to {self.size:,} characters"
        lines = [
            f"{chunk.place}:{chunk.line} ({len(chunk):,}): {shown(chunk.text[:120], 80)}" for chunk in self._first()
        ]
        text = listed(head, lines, "chunks", len(self._starts) - len(lines) if is_whole else 0)
        return text if is_whole else f"{text}\n… more, chunks[{len(lines)}:]"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """The texts and the way of cutting, from which the same chunks are cut again."""
        return Chunks, (self._parts, self.size, self.by, self._overlap)

    def _first(self) -> list[Chunk]:
        return [self._chunk(index) for index in range(FIRST) if self._has(index)]

    def _has(self, index: int) -> bool:
        while len(self._starts) <= index and next(self._pending, None) is not None:
            pass
        return index < len(self._starts)

    def _chunk(self, index: int) -> Chunk:
        source = next(source for first, source in reversed(self._cuts) if first <= index)
        return Chunk(source, self._starts[index], self._ends[index])

    def _made(self) -> Any:
        for part in self._parts:
            if not self._cuts or self._cuts[-1][1] is not part.source:
                self._cuts.append((len(self._starts), part.source))
            for start, end in part.pieces(apart=True):
                yield from self._document(part.source.text, start, end)

    def _document(self, text: str, first: int, end: int) -> Iterator[bool]:
        start = first
        while start < end:
            stop = self._cut(text, start, start + self.size, end)
            self._starts.append(max(first, start - self._overlap))
            self._ends.append(stop)
            start = stop
            yield True


def chunks(size: int = 8000, *, by: str = "lines", overlap: int = 0, docs: object = None) -> Chunks:
    """Cut the texts into parts of at most `size` characters: lazy, with `len`, index and iteration.

    Args:
        size: the most characters of a chunk (without the overlap).
        by: where to cut: "lines" (at the end of a line), "paragraphs" (at a blank line), "headings" (before a Markdown
            heading: each section is one chunk, or several), "chars", "documents" (not at all). A part longer than
            `size` without such a place is cut at the next smaller unit.
        overlap: how many characters of the previous chunk each one begins with, within a document.
        docs: as in `search`.

    Returns:
        Chunks of Chunk, each a Span of one document: text, start, end, doc, line, lines(n). Joined they are the text.
    """
    used("chunks")
    return chunked(size, by, overlap, docs)


def chunked(size: int, by: str, overlap: int, docs: object) -> Chunks:
    """As `chunks`."""
    if by not in WAYS:
        raise ValueError(f"by is one of {', '.join(map(repr, WAYS))}, not {by!r}")
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"size is at least 1 and overlap below it, both in characters: size={size}, overlap={overlap}")
    return Chunks(stretches(docs), size, by, overlap)
