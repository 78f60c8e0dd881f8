"""The names that a session's namespace starts with, each with the line that the client is shown for it.

Is: the one place where a name is offered; its value is a module beside this one. What is offered here is bound, named
in the reply to `rlm_load_context_request`, left out of the snapshots, and known to the host; requests of the host that
belong to a name stand in its row. Is not: a wall or a courtesy.
Above: `in_kernel/ipython/app.py`, `in_kernel/ipython/control.py`, `in_kernel/snapshots/taking.py`.
Below: `documents.py`, `wire.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.asking import asking, functions, state
from rlm_kernel_mcp.in_kernel.explore.chunks import chunks
from rlm_kernel_mcp.in_kernel.explore.evidence import cite, quote
from rlm_kernel_mcp.in_kernel.explore.looking import look, tree
from rlm_kernel_mcp.in_kernel.explore.ranking import rank
from rlm_kernel_mcp.in_kernel.explore.records import records
from rlm_kernel_mcp.in_kernel.explore.searching import count, search
from rlm_kernel_mcp.in_kernel.explore.sources import Source, drop_source, look_in, set_source
from rlm_kernel_mcp.in_kernel.explore.spans import lines as lines_of_text
from rlm_kernel_mcp.in_kernel.explore.spans import span
from rlm_kernel_mcp.in_kernel.namespace.documents import Documents
from rlm_kernel_mcp.questions_wire import SEND_CONTEXT, SUBCALLS
from rlm_kernel_mcp.wire import READ_ONLY_SCRATCH, WallRow

CONTEXT: Final = "context"
"""The key of the text in `OFFERED`, and its name unless the client wants another."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session's context, as its names are made of it."""

    context: str
    """The whole text."""
    documents: Sequence[Sequence[Any]]
    """(name, size in characters) of each document, in the order of `context`."""
    scratch: str
    """Path of the directory where `open` works."""
    name: str = CONTEXT
    """Under which the text is bound."""
    codecs: Sequence[tuple[str, str]] = ()
    """Encoding of each document's file, and how what does not decode is kept, where that is known."""

    utf8: memoryview | None = None
    """The text's UTF-8, where that lies somewhere."""

    @property
    def source(self) -> Source:
        """What the exploring functions look in."""
        codecs = self.codecs or [("utf-8", "surrogateescape")] * len(self.documents)
        rows = [(*row, *codec) for row, codec in zip(self.documents, codecs, strict=True)]
        return Source(self.name, self.context, rows, self.utf8)


Answer = Callable[[Mapping[str, Any], Callable[[], int]], Mapping[str, Any]]
"""Makes the content of a reply from that of a request, and from a function that takes the descriptor which the host has
passed with it. It runs in the control thread, where no code of the session may run. An OSError, a ValueError or a
MemoryError becomes a `Failure`."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One name."""

    line: str
    """What the client is told of it: at most `wire.OFFERED_LINE_CHARS_MAX` printable characters."""
    value: Callable[[Loaded], object]
    of_context: bool = True
    """Whether it says something of the context: without one it is unbound, since an empty one would be a lie."""
    line_read_only: str = ""
    """Its line where the scratch directory is read-only, if that is another."""
    requests: Mapping[str, Answer] = field(default_factory=dict)
    """By type the requests of the host that belong to it, answered on the control channel while a step runs."""


FUNCTIONS: Final[Mapping[str, tuple[Callable[..., object], str]]] = {
    "look": (look, "look(doc) -> size, head, tail, kinds of lines, headings or keys"),
    "search": (search, "search('x' or ['x', 'y'], regex=True, docs='*.py') -> Hits with .line"),
    "count": (count, "count(pattern, by='line shape') -> how often, by document"),
    "lines": (lines_of_text, "lines(3, 9, doc) -> Span, counted as grep -n does"),
    "span": (span, "span(0, 500, doc) -> Span: .text, .line, .before(n), .lines(n)"),
    "chunks": (chunks, "chunks(8000, by='paragraphs') -> lazy Spans"),
    "rank": (rank, "rank('words', k=10) -> the best chunks (BM25)"),
    "records": (records, "records(doc) -> JSON, JSONL or CSV, one by one"),
    "tree": (tree, "tree(depth=2) -> documents as directories"),
    "cite": (cite, "cite(hit or span) -> prints as [c3], for the answer"),
    "quote": (quote, "quote(text) -> Span where it stands, or None"),
    **asking.FUNCTIONS,
    **functions.FUNCTIONS,
}
"""The functions that explore the texts, those that ask a model and those that call the driver's functions, with their
lines. Without a context, a model or such functions they are there too, and say what to do."""


_REQUESTS: Final[Mapping[str, Mapping[str, Answer]]] = {
    "llm_query": {SUBCALLS: functions.open_channel},
    "rlm_query": {SEND_CONTEXT: state.send_text},
}
"""The requests that belong to functions."""


def _function(name: str, function: Callable[..., object], line: str) -> Offer:
    return Offer(line, lambda loaded: function, of_context=False, requests=_REQUESTS.get(name, {}))


OFFERED: Final[Mapping[str, Offer]] = {
    CONTEXT: Offer(
        "the whole text, a str; several documents stand one after the other, nothing between them",
        lambda loaded: loaded.context,
    ),
    "documents": Offer(
        "mapping of document name to its text (slices of context, made on access): documents[name], "
        ".items(), .at(offset) -> (name, offset in it), .span(name) -> (start, end)",
        lambda loaded: Documents(loaded.context, loaded.documents, loaded.name),
    ),
    "scratch": Offer(
        "path (str) of the one directory where open() may read and write; the documents are not files in it",
        lambda loaded: loaded.scratch,
        of_context=False,
        line_read_only=f"path (str) of the one directory of open(); {READ_ONLY_SCRATCH} here: keep what you make in "
        "variables",
    ),
    **{name: _function(name, *row) for name, row in FUNCTIONS.items()},
}
"""The names, in the order in which they are shown."""


def named(key: str, name: str) -> str:
    """What a session calls the name of a key of `OFFERED`. `name`: of its first context."""
    return name if key == CONTEXT else key


def bind(user_ns: MutableMapping[str, Any], loaded: Loaded) -> None:
    """Bind every name in a session's namespace, and have the functions look in its text."""
    user_ns.pop(CONTEXT, None)  # a kernel begins with an empty text under that name
    # A text of before may have the name of a function that came later; the text is what the session means by it.
    keys = [key for key in OFFERED if key == CONTEXT or key != loaded.name]
    user_ns.update({named(key, loaded.name): OFFERED[key].value(loaded) for key in keys})
    look_in(user_ns)
    if loaded.documents:
        set_source(loaded.source)


def is_taken(user_ns: Mapping[str, Any], name: str) -> bool:
    """Whether a further context may not have a name. The host says whether those of the functions that ask are free."""
    return name in user_ns and user_ns[name] is not {**asking.FUNCTIONS, **functions.FUNCTIONS}.get(name, (user_ns,))[0]


def unbind_context(user_ns: MutableMapping[str, Any], name: str) -> list[str]:
    """Take the names of the context out of a session's namespace; returns the keys of those."""
    keys = [key for key, offer in OFFERED.items() if offer.of_context]
    for bound in (*keys, name):
        user_ns.pop(bound, None)
    drop_source(name)
    return keys


def requests() -> dict[str, Answer]:
    """Every request that belongs to a name, by its type."""
    return {msg_type: answer for offer in OFFERED.values() for msg_type, answer in offer.requests.items()}


def lines(walls: Iterable[WallRow]) -> dict[str, str]:
    """By key a line that is true of a kernel with these walls."""
    read_only = any(READ_ONLY_SCRATCH in wall["detail"] for wall in walls)
    return {key: (offer.line_read_only if read_only else "") or offer.line for key, offer in OFFERED.items()}
