"""The quotes of one answer on their way to citations, and what the passes over the sources have in common.

Is: what has been found for each, and the walk through all documents. Is not: what is looked for (`quotes.py`,
`nearest.py`). Above: those. Below: `documents.py`, `streams.py`, `keys.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rlm_kernel_mcp.context.loader.index import Changed
from rlm_kernel_mcp.context_wire import CITED_CHARS_MAX
from rlm_kernel_mcp.session.evidence.citations import Nearest, Passage, Quote
from rlm_kernel_mcp.session.evidence.documents import Documents, Listed
from rlm_kernel_mcp.session.evidence.keys import Needle, Needles
from rlm_kernel_mcp.session.evidence.passages import OpenDocument
from rlm_kernel_mcp.session.evidence.streams import PLAIN, WINDOW_BYTES, Stream, without_spaces

SAMPLES: Final = 8
SAMPLE_BYTES: Final = 256 << 10
"""Size of each sampled part of the sources, which shows what is rare in them."""


class PartPlace(NamedTuple):
    """Where a part of a quote stands."""

    listed: Listed
    unit: int
    """Its block of the document, and its distance in bytes of the stream from the beginning of that."""
    behind: int
    spaces: bool
    """Whether that stream includes white space."""
    offset: int
    """Where the part begins in its quote, in bytes without white space."""
    begin: int
    """Where the quote would begin in the stream."""


@dataclass(slots=True)
class Found:
    """A passage and its document."""

    listed: Listed
    passage: Passage


@dataclass(slots=True)
class Sought:
    """One quote."""

    quote: Quote
    found: Found | None = None
    matches: int = 0
    """Places where it occurs word for word or else, if there are none, with different white space."""
    is_exact: bool = False
    looked_at: int = 0
    """Places whose text was compared with it."""
    is_unchecked: bool = False
    """Whether it was given up because nothing in it is rare."""
    places: list[PartPlace] = field(default_factory=list)
    """Where parts of it stand that are rare, but not all of it: there the nearest passage is looked for."""
    nearest: Nearest | None = None
    near_unknown: bool = False
    """Whether there was no time left to look for the nearest passage."""

    def is_in(self, listed: Listed) -> bool:
        """Whether this document is one of those that it may come from."""
        return self.quote.doc in (None, listed.name, listed.context)


@dataclass(slots=True)
class Limits:
    """The limits of a check. Tests make them smaller."""

    window_bytes: int = WINDOW_BYTES
    nearest_s: float = 20.0
    """Time for finding nearest passages."""
    check_cancelled: Callable[[], None] = field(default=lambda: None)
    """Called for each window; raises if nobody waits any more."""


class Hit(NamedTuple):
    """A needle that was found."""

    needle: Needle
    start: int
    """Where it begins in the stream."""
    stream: Stream
    listed: Listed
    is_whole: bool
    """Whether all of it is there, and not only its key."""

    def place(self, at: int, offset: int) -> PartPlace:
        """Of what begins `at` in the needle, and at `offset` in its quote."""
        stream = self.stream
        unit, behind = stream.block_of(self.start + at)
        return PartPlace(self.listed, unit, behind, stream.spaces, offset, self.start + at - offset)


def hits(
    documents: Documents, needles: Needles, limits: Limits, *, spaces: bool, docs: Sequence[Listed]
) -> Iterator[Hit]:
    """All matches in some documents; a document that is truncated meanwhile ends there."""
    for listed in docs:
        limits.check_cancelled()
        with documents.open(listed) as document:
            if document is None:
                continue
            stream = Stream(document, spaces, needles.reach, limits.window_bytes, needles.codes)
            try:
                for window in stream.windows():
                    limits.check_cancelled()
                    for needle, start, is_whole in needles.search(window):
                        yield Hit(needle, start, stream, listed, is_whole)
            except Changed:
                continue


def passage_at(document: OpenDocument, stream: Stream, start: int, size: int) -> tuple[Passage, str] | None:
    """The passage for some bytes of a stream; None if it is gone, not made of whole characters, or far too long."""
    try:
        first, last = stream.chars_of(start, start + size)
        return document.passage(first, last) if last - first <= CITED_CHARS_MAX else None
    except (Changed, IndexError):
        return None


def sample_of(documents: Documents, docs: Sequence[Listed], *, spaces: bool) -> tuple[list[bytes], float]:
    """Parts of some documents, and how many times larger all of them are."""
    whole = sum(one.byte_count for one in docs)
    step = max(1, whole // SAMPLES)
    parts, at, wanted, seen = list[bytes](), 0, 0, 0
    for listed in docs:
        while wanted < at + listed.byte_count and len(parts) < 4 * SAMPLES:
            data = _part(documents, listed, wanted - at, min(step, SAMPLE_BYTES))
            seen += len(data)
            parts.append(data if spaces else without_spaces(data))
            wanted += step
        at += listed.byte_count
    return parts, whole / max(1, seen)


def _part(documents: Documents, listed: Listed, start: int, size: int) -> bytes:
    """Some of a document's bytes, in UTF-8."""
    with documents.open(listed) as document:
        if document is None:
            return b""
        raw = document.raw(start, size)
        if document.encoding in PLAIN:
            return raw
        # From a whole unit on: at an odd offset, UTF-16 and UTF-32 decode to other characters.
        begin = start - start % 4
        if document.encoding == "latin-1":
            return raw.decode("latin-1").encode()
        try:
            return document.raw(begin, size).decode(document.codec_at(begin), "ignore").encode("utf-8", "ignore")
        except Changed:
            return b""
