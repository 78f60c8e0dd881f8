"""Finds where in the contexts stands what a step's reply has delivered: the host's own look at its own sources.

Is: reading the places at which to look, and the ranges of characters that stood in the reply. The kernel's word is only
where to look first: what is found there is a fact. Is not: a search through a large text, which would take each step
more than it is worth, nor when it is done (`steps.py`). Blocking: it belongs into a worker thread. Above: `steps.py`.
Below: `given.py`, `session/contexts/`, `session/evidence/passages.py`, `context/`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Self

from rlm_kernel_mcp.context.loader.compressed import form_of
from rlm_kernel_mcp.context.loader.index import Changed, ReadAt
from rlm_kernel_mcp.context.loader.places import Places
from rlm_kernel_mcp.context.roots.opening import FileOpener
from rlm_kernel_mcp.context_wire import Shown
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.session.contexts.contexts import ContextList, SessionContext
from rlm_kernel_mcp.session.evidence.passages import OpenDocument
from rlm_kernel_mcp.session.finding.given import LINE_CHARS, LONG_CHARS, Given
from rlm_kernel_mcp.session.seen.ranges import Range

READ_CHARS: Final = 128 << 10
"""Of all that is read for one reply."""
PLACE_CHARS: Final = 64 << 10
"""Of one place."""
BESIDE_CHARS: Final = 240
"""So far on both sides of a place the rest of its lines is looked for: a match is shown with its line."""
LIKELY_CHARS: Final = 2_000
"""A longer place is a document, of which a step has shown a part at most: there only long lines count."""
INLINE_BYTES: Final = 4 << 20
"""A larger text of the client's own is not read from the store for this."""
COUNTED_BYTES: Final = 1 << 20
"""A larger document that no loader has counted, and that has fewer characters than bytes, would be counted for it."""
SMALL_CHARS: Final = 64 << 10
SMALL_DOCUMENTS: Final = 32
"""So small contexts are looked through, whatever the kernel says."""


def is_small(contexts: ContextList) -> bool:
    """Whether all contexts together are looked through for each reply."""
    reports = [one.report for one in contexts.all if one.report is not None]
    documents = sum(max(1, report.document_count) for report in reports)
    return sum(report.chars for report in reports) <= SMALL_CHARS and documents <= SMALL_DOCUMENTS


def places_of(contexts: ContextList) -> list[Shown]:
    """All documents of contexts that are small."""
    found: list[Shown] = []
    for one in contexts.all:
        if (places := one.places) is not None and places.starts is not None:
            sizes = [end - start for start, end in pairwise(places.starts)]
            found += [(one.name, name, 0, chars) for name, chars in zip(places.names, sizes, strict=True) if chars]
    return found


def placed(contexts: ContextList, given: Given, shown: Sequence[Shown]) -> dict[str, list[Range]]:
    """By context, the ranges of its characters that stood in a reply. `shown`: where to look, in this order."""
    found: dict[str, list[Range]] = defaultdict(list)
    known = {one.name: one for one in contexts.all if one.report is not None}
    room = READ_CHARS
    with _Reader(contexts) as reader:
        for name, document, start, end in shown:
            if room <= 0:
                break
            context = known.get(name)
            if context is None or context.places is None or context.places.starts is None:
                continue
            with reader.opened(context, document) as one:
                if one is None:
                    continue
                text, begin = one.lines(start, min(end, start + PLACE_CHARS, start + room))
                room -= len(text)
                least = LINE_CHARS if end - start <= LIKELY_CHARS else LONG_CHARS
                found[name] += [(begin + low, begin + high) for low, high in given.parts_of(text, least)]
    return dict(found)


@dataclass(slots=True)
class _Opened:
    """A document that is read."""

    document: OpenDocument
    start: int
    """Where it begins in its context, in characters."""
    chars: int

    def lines(self, start: int, end: int) -> tuple[str, int]:
        """The whole lines of some of its characters, if they are not too long, and where they begin in the context."""
        low, high = max(0, start - BESIDE_CHARS), min(self.chars, end + BESIDE_CHARS)
        if not 0 <= start < end <= self.chars:
            return "", 0
        text = self._text(low, high)
        first = text.rfind("\n", 0, start - low) + 1
        last = text.find("\n", end - low)
        return text[first : len(text) if last < 0 else last], self.start + low + first

    def _text(self, low: int, high: int) -> str:
        document = self.document
        if self.chars == document.byte_count:  # a byte for each
            text = document.decoded(document.read(low, high - low), low)
        else:
            text = document.text(document.at_char(low), document.at_char(high))
        return text if len(text) == high - low else ""


@dataclass(slots=True)
class _Reader:
    """Reads documents of contexts for one reply. Nothing is unpacked and nothing loaded for it."""

    contexts: ContextList
    _held: ExitStack = field(default_factory=ExitStack)
    _openers: dict[str, FileOpener] = field(default_factory=dict)
    _texts: dict[str, bytes | None] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._held.close()

    @contextmanager
    def opened(self, context: SessionContext, name: str) -> Iterator[_Opened | None]:
        """One document; None where it cannot be read so, or is not what it was any more."""
        places = context.places
        with ExitStack() as opened:
            one = None
            with suppress(KeyError, OSError, RlmError):
                if places is not None:
                    one = self._open(context, places, name, opened)
            with suppress(Changed, IndexError, OSError):
                yield one

    def _open(self, context: SessionContext, places: Places, name: str, opened: ExitStack) -> _Opened | None:
        number = places.number(name)
        encoding, errors = places.codec(number)
        path = places.path_of(number, name)
        read = self._inline(context) if not path else self._file(context, path, name, places.size(number), opened)
        if read is None or places.starts is None:
            return None
        start, end = places.starts[number], places.starts[number + 1]
        if end - start < places.size(number) > COUNTED_BYTES and not places.is_counted:
            return None
        document = OpenDocument(
            name, path or None, encoding, errors, places.size(number), read, places, number, lambda: None
        )
        return _Opened(document, start, end - start)

    def _inline(self, context: SessionContext) -> ReadAt | None:
        """A text of the client's own, from the store."""
        report = context.report
        if context.source.file is not None or report is None or report.bytes > INLINE_BYTES:
            return None
        if context.name not in self._texts:
            self._texts[context.name] = self.contexts.store.context(self.contexts.session_id, context.in_store)
        data = self._texts[context.name]
        return None if data is None else lambda at, size: data[at : at + size]

    def _file(self, context: SessionContext, path: str, name: str, size: int, opened: ExitStack) -> ReadAt | None:
        if form_of(path) != "plain":
            return None
        opener = self._openers.get(context.name)
        if opener is None:
            opener = FileOpener(context.source.allowed(self.contexts.means.settings))
            self._held.callback(opener.close)
            self._openers[context.name] = opener
        file = opener.open(path, name)
        opened.callback(os.close, file.descriptor)
        return None if file.identity.size != size else lambda at, count: os.pread(file.descriptor, count, at)
