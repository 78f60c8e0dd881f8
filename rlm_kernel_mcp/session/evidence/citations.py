"""What an answer rests on, as checked by the host: citations, and their share of the contexts.

Is: plain data, and the rows that a client gets. Is not: the check. Above: `session/reports.py`, `server/`. Below:
nothing.

Characters and bytes count from 0 in a document, with the end excluded; lines count from 1, with the last one included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal

TEXT_CHARS: Final = 300
"""Characters of a passage that are shown."""
BESIDE_CHARS: Final = 32
"""Characters of context on each side of a passage."""
DOCUMENTS_SHOWN: Final = 20
EXACT_EACH: Final = 10_000
EXACT_CHARS: Final = 1_000_000
"""Characters of a passage that are kept as the source has them, and of all passages of an answer. Of a longer one only
its path and encoding are."""
_TEXTS: Final = frozenset({"text", "prefix", "suffix", "path", "why"})

Kind = Literal["marker", "quote"]
Status = Literal["verified", "whitespace", "near", "missing", "changed"]
PASSES: Final[frozenset[Status]] = frozenset({"verified", "whitespace"})
"""An answer with any other citation is refused."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A passage that the answer quotes. `doc`: the document or context that must contain it; None: any."""

    text: str
    doc: str | None = None


@dataclass(frozen=True, slots=True)
class Exact:
    """A passage exactly as in its source, with any control characters: never shown as it is."""

    path: str | None
    encoding: str
    """Its name in Python."""
    prefix: str
    text: str | None
    """None, and nothing beside it, if it is longer than what is kept."""
    suffix: str

    def without_text(self) -> Exact:
        """Where it stands alone."""
        return Exact(self.path, self.encoding, "", None, "")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document, from the current bytes of its source."""

    doc: str
    path: str | None
    """The document's file; None for an inline text."""
    start_char: int
    end_char: int
    start_byte: int
    end_byte: int
    start_line: int
    end_line: int
    text: str
    """At most its first `TEXT_CHARS` characters, safe to show."""
    sha256: str
    """The hash of its bytes in the source."""
    prefix: str
    suffix: str
    """At most `BESIDE_CHARS` characters before it and after it."""
    exact: Exact | None = None
    """None in a record that has none, and of a passage that is no evidence."""

    @property
    def text_chars(self) -> int:
        """Its length in characters."""
        return self.end_char - self.start_char

    def row(self) -> dict[str, Any]:
        """As the contract has it."""
        return {
            "doc": self.doc,
            "path": self.path,
            "start_char": self.start_char,
            "end_char": self.end_char,
            "start_byte": self.start_byte,
            "end_byte": self.end_byte,
            "start_line": self.start_line,
            "end_line": self.end_line,
            "text": self.text,
            "text_chars": self.text_chars,
            "sha256": self.sha256,
            "prefix": self.prefix,
            "suffix": self.suffix,
        }


@dataclass(frozen=True, slots=True)
class Nearest:
    """The passage most similar to one that was not found. Never evidence."""

    passage: Passage
    similarity: float
    """From 0 to 1 (identical)."""


@dataclass(frozen=True, slots=True)
class Citation:
    """One mark or quote of the answer."""

    id: str
    """`c3` for the mark [c3]; `q1` for the first quote."""
    kind: Kind
    status: Status
    passage: Passage | None = None
    """None unless it passes."""
    given: str = ""
    """If it does not pass: the mark, or the first `TEXT_CHARS` characters of the quote."""
    matches: int | None = None
    """How often the exact text occurs, at most 1,000; None if not counted, as for a mark."""
    nearest: Nearest | None = None
    why: str | None = None
    """Why it does not pass, in one sentence."""

    @property
    def passes(self) -> bool:
        """Whether it is evidence."""
        return self.status in PASSES

    def row(self) -> dict[str, Any]:
        """As in the contract, without unknown fields."""
        row: dict[str, Any] = {"id": self.id, "kind": self.kind, "status": self.status}
        row |= {"text": self.given} if self.passage is None else self.passage.row()
        if self.matches is not None:
            row["matches"] = self.matches
        if self.nearest is not None:
            row["nearest"] = {**self.nearest.passage.row(), "similarity": self.nearest.similarity}
        if self.why is not None:
            row["why"] = self.why
        return row

    def record(self) -> dict[str, Any]:
        """As kept in the trace: also the exact text, if that differs from what is shown."""
        row, passage = self.row(), self.passage
        if passage is not None and passage.exact is not None:
            found = ((one.name, getattr(passage.exact, one.name)) for one in fields(Exact))
            row["exact"] = {key: value for key, value in found if key not in row or value != row[key]}
        return row


@dataclass(frozen=True, slots=True)
class DocumentCoverage:
    """How much of one document was delivered (judged by its text) and cited, in characters."""

    doc: str
    chars: int
    delivered_by_text: int | None
    cited: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the contexts was looked at and cited. In characters.

    `delivered`, `delivered_by_text` and `cited` are what the host saw and checked; `searched` and `ranked` are the
    kernel's statements. What a step does with a text's own methods and operators is not known at all.
    """

    chars: int
    """The size of all contexts."""
    delivered: int = 0
    """All output in the replies of steps, whatever it was."""
    delivered_by_text: int | None = None
    """The lines of the contexts that occur in that output word for word; None: not looked for."""
    searched: int = 0
    ranked: int = 0
    cited: int = 0
    by_document: tuple[DocumentCoverage, ...] = field(default=())
    """The first `DOCUMENTS_SHOWN` documents of which anything was delivered or cited."""
    changed: bool = False
    """Whether a file has changed since it was loaded."""

    def per_cent(self, chars: int) -> float:
        """A number of characters as a percentage of all, to three significant digits."""
        return float(f"{100 * chars / self.chars:.3g}") if self.chars else 0.0

    def row(self) -> dict[str, Any]:
        """As the contract has it."""
        return {
            "chars": self.chars,
            "delivered": {"chars": self.delivered, "per_cent": self.per_cent(self.delivered)},
            "delivered_by_text": self.delivered_by_text,
            "searched": self.searched,
            "ranked": self.ranked,
            "said_by_kernel": ["searched", "ranked"],
            "cited": self.cited,
            "by_document": [
                {"doc": one.doc, "chars": one.chars, "delivered_by_text": one.delivered_by_text, "cited": one.cited}
                for one in self.by_document
            ],
            "str_operations": "not tracked",
            "changed": self.changed,
        }


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything that was found out about an answer's evidence."""

    citations: tuple[Citation, ...]
    coverage: Coverage

    @property
    def failed(self) -> tuple[Citation, ...]:
        """Those that do not pass."""
        return tuple(one for one in self.citations if not one.passes)

    def rows(self, max_chars: int) -> dict[str, Any]:
        """As the contract has it; `max_chars`: of the citations with their texts."""
        return {"citations": rows_within(self.citations, max_chars), "coverage": self.coverage.row()}

    def record(self) -> dict[str, Any]:
        """What the trace keeps of it."""
        return {"citations": [one.record() for one in self.citations], "coverage": self.coverage.row()}

    @classmethod
    def of_record(cls, found: Mapping[str, Any]) -> Checked:
        """From that. Raises: TypeError, KeyError where it is damaged."""
        return cls(tuple(map(_citation, found["citations"])), _coverage(found["coverage"]))


def rows_within(citations: Sequence[Citation], max_chars: int) -> list[dict[str, Any]]:
    """Their rows. If there is no room for a row's texts, they are left out (`text_omitted`)."""
    rows = []
    for one in citations:
        row = one.row()
        max_chars -= len(json.dumps(row, ensure_ascii=False))
        if max_chars < 0:
            row = {key: value for key, value in row.items() if key not in _TEXTS} | {"text_omitted": True}
            if one.nearest is not None:
                row["nearest"] = {key: value for key, value in row["nearest"].items() if key not in _TEXTS}
        rows.append(row)
    return rows


def within_room(citations: Sequence[Citation], max_chars: int = EXACT_CHARS) -> tuple[Citation, ...]:
    """The same citations, without the exact texts that there is no room for."""
    kept = []
    for one in citations:
        exact = None if one.passage is None else one.passage.exact
        if one.passage is not None and exact is not None and exact.text is not None:
            max_chars -= len(exact.text)
            if max_chars < 0:
                one = replace(one, passage=replace(one.passage, exact=exact.without_text()))  # noqa: PLW2901
        kept.append(one)
    return tuple(kept)


def _passage(row: Mapping[str, Any]) -> Passage:
    exact = row.get("exact")
    if exact is not None:
        exact = Exact(**{one.name: exact.get(one.name, row.get(one.name)) for one in fields(Exact)})
    return Passage(**{one.name: row[one.name] for one in fields(Passage) if one.name != "exact"}, exact=exact)


def _citation(row: Mapping[str, Any]) -> Citation:
    near = row.get("nearest")
    return Citation(
        row["id"],
        row["kind"],
        row["status"],
        _passage(row) if row.get("doc") is not None else None,
        "" if row.get("doc") is not None else row["text"],
        row.get("matches"),
        None if near is None else Nearest(_passage(near), near["similarity"]),
        row.get("why"),
    )


def _coverage(row: Mapping[str, Any]) -> Coverage:
    plain = ("chars", "delivered_by_text", "searched", "ranked", "cited", "changed")
    documents = tuple(DocumentCoverage(**one) for one in row["by_document"])
    return Coverage(**{name: row[name] for name in plain}, delivered=row["delivered"]["chars"], by_document=documents)
