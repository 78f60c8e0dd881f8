"""The texts that the exploring functions look in: the session's contexts, with their documents.

Is: one list for the kernel, which the loading of contexts fills and no step can unbind, and the choice of a part of it
by name. Is not: a wall, nor a search. Above: `in_kernel/namespace/`, the modules beside it. Below: `places.py`,
`explore/matching/windows.py`, `walls/limits.py`.
"""

from __future__ import annotations

import difflib
import fnmatch
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple

from rlm_kernel_mcp.in_kernel.explore.matching.windows import Subject
from rlm_kernel_mcp.in_kernel.explore.places import BytePlaces, LinePlaces
from rlm_kernel_mcp.in_kernel.walls.limits import has_room

NEAR_FROM: Final = 20_000
NAME_CHARS: Final = 200
UNBOUND: Final = "context"
"""Searched if no context was loaded but a step has bound a text to this name."""


class NoText(LookupError):
    """There is no text to search."""


class Source:
    """One context: its text, and where each document is in it.

    Args:
        name: the context's name.
        text: all documents, one after the other.
        documents: for each, its name, size in characters, file encoding, and codec error handler.
        utf8: the text's UTF-8, if the spool has it.
    """

    def __init__(
        self, name: str, text: str, documents: Sequence[Sequence[Any]], utf8: memoryview | None = None
    ) -> None:
        self.name, self.text, self.subject = name, text, Subject(text, utf8, has_room)
        self.documents: list[str] = [row[0] for row in documents]
        self.starts: list[int] = list(accumulate((row[1] for row in documents), initial=0))
        self.lines = LinePlaces(text)
        self._codecs: list[tuple[str, str]] = [(row[2], row[3]) for row in documents]
        self._bytes: dict[int, BytePlaces] = {}

    @cached_property
    def index(self) -> dict[str, int]:
        """Each document's number, by name."""
        return {name: index for index, name in enumerate(self.documents)}

    def index_at(self, char: int) -> int:
        """The document that has a character; the end of the text counts as in the last one."""
        return max(0, min(bisect_right(self.starts, char) - 1, len(self.documents) - 1))

    def document(self, index: int) -> tuple[int, int]:
        """Start and end of a document in the text."""
        return self.starts[index], self.starts[index + 1]

    def byte(self, index: int, char: int) -> int:
        """How many bytes of a document's file come before a character of the text."""
        if index not in self._bytes:
            self._bytes[index] = BytePlaces(self.text, *self.document(index), *self._codecs[index])
        return self._bytes[index].before(char)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """Only its name: a fresh kernel gets the text before any value is restored."""
        return source_named, (self.name,)


class Stretch(NamedTuple):
    """A part of a source."""

    source: Source
    start: int
    end: int

    def pieces(self, *, apart: bool) -> Iterator[tuple[int, int]]:
        """Its documents one by one or, without `apart`, those together that are separated by a line end."""
        source, start = self.source, self.start
        for index in range(source.index_at(start), len(source.documents)):
            end = min(source.starts[index + 1], self.end)
            is_last = end == self.end
            if is_last or apart or not source.text.endswith("\n", start, end):
                if start < end or self.start == self.end:
                    yield start, end
                start = end
            if is_last:
                return


_sources: dict[str, Source] = {}
_namespace: Mapping[str, Any] = {}


def look_in(user_ns: Mapping[str, Any]) -> None:
    """Set the session's namespace, and forget all sources."""
    global _namespace  # noqa: PLW0603  (one kernel, one session)
    _namespace = user_ns
    _sources.clear()


def set_source(source: Source, *, first: bool = True) -> None:
    """Add a context. `first`: it replaces all others."""
    if first:
        _sources.clear()
    _sources[source.name] = source


def drop_source(name: str) -> None:
    """Remove a context."""
    _sources.pop(name, None)


def source_named(name: str) -> Source:
    """A context by its name.

    Raises:
        NoText: it is not loaded.
    """
    if name not in _sources:
        raise NoText(f"the session's context {name} could not be loaded again")
    return _sources[name]


def sources() -> list[Source]:
    """All sources, the first context first.

    Raises:
        NoText: there are none.
    """
    if _sources:
        return list(_sources.values())
    own = _namespace.get(UNBOUND)
    if isinstance(own, str) and own:
        _sources[UNBOUND] = Source(UNBOUND, own, [(UNBOUND, len(own), "utf-8", "surrogatepass")])
        found = [_sources[UNBOUND]]
        _sources.clear()  # it is a step's own, and may be another one in the next
        return found
    raise NoText(f"no text is loaded here: rlm_init_context and rlm_add_context load one, or bind a str to `{UNBOUND}`")


def stretches(docs: object = None) -> list[Stretch]:
    """The parts of the texts that a caller has named.

    Args:
        docs: None for all; a document's name, a context's, or a pattern (`*.py`, `src/*`); a part of a text (anything
            with `_stretch`); or several of these.

    Raises:
        NoText: there are no texts.
        KeyError: nothing has such a name; the message gives the nearest.
    """
    known = sources()
    if docs is None:
        return [Stretch(source, 0, len(source.text)) for source in known]
    if isinstance(docs, str):
        return _named(known, docs)
    part = getattr(docs, "_stretch", None)
    if isinstance(part, Stretch):
        return [part]
    if not isinstance(docs, Iterable):
        raise TypeError(f"docs is a name, a pattern such as '*.py', or a list of these, not {type(docs).__name__}")
    return [found for one in docs for found in stretches("" if one is None else one)]


def one_document(doc: str | None) -> Stretch:
    """A document or a context by name; None: the first context.

    Raises:
        As `stretches`.
    """
    if doc is None:
        source = sources()[0]
        return Stretch(source, 0, len(source.text))
    return stretches(doc)[0]


def _named(known: list[Source], name: str) -> list[Stretch]:
    for source in known:
        # Documents first: one may have the name of a context.
        if name in source.index:
            return [Stretch(source, *source.document(source.index[name]))]
    for source in known:
        if name == source.name:
            return [Stretch(source, 0, len(source.text))]
    found = [
        Stretch(source, *source.document(index))
        for source in known
        for index, document in enumerate(source.documents)
        if fnmatch.fnmatchcase(document, name) or (name.endswith("/") and document.startswith(name))
    ]
    if not found:
        raise KeyError(_missing(known, name))
    return found


def _missing(known: list[Source], name: str) -> str:
    documents = [one for source in known for one in source.documents]
    # At most `NEAR_FROM`: difflib compares with each of them.
    names = [*(source.name for source in known), *documents][:NEAR_FROM]
    near = [one for one in names if name and one.endswith(f"/{name}")][:3] or difflib.get_close_matches(name, names)
    said = ", ".join(repr(one[:NAME_CHARS]) for one in near or documents[:3])
    which = f"{'the nearest' if near else 'the first'}: {said}"
    return f"no context, and none of {len(documents):,} documents, is {name[:NAME_CHARS]!r}; {which}; tree() shows them"
