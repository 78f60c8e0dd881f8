"""`records`: JSON, JSON Lines or CSV as Python objects, record by record.

Is: a reader that goes through a document as far as somebody looks, reports which record is bad and why, and continues.
Is not: a table: nothing is kept except where every thousandth record begins. Above: `in_kernel/namespace/`.
Below: `spans.py`, `sources.py`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, overload

from rlm_kernel_mcp.in_kernel.explore.hits import listed
from rlm_kernel_mcp.in_kernel.explore.matching.windows import line_end
from rlm_kernel_mcp.in_kernel.explore.sources import Stretch, one_document
from rlm_kernel_mcp.in_kernel.explore.spans import shown
from rlm_kernel_mcp.in_kernel.explore.usage import used

MARK_EVERY: Final = 1_000
KINDS: Final = ("json", "jsonl", "csv", "tsv")
_ENDINGS: Final = {"json": "json", "jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "tsv": "tsv"}
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_COMMA: Final = re.compile(r"[ \t\r\n]*(,|\])[ \t\r\n]*")
ERROR_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that cannot be parsed: the line of its document in which it begins, and the reason."""

    line: int
    error: str

    def __repr__(self) -> str:
        return f"Bad(line={self.line}, error={shown(self.error, ERROR_CHARS)!r})"


class Records:
    """The records of one document: iteration, `len(r)`, `r[7]`, `r[5:10]` (a list). A bad one is a `Bad`."""

    __slots__ = ("_count", "_make", "_marks", "_part", "kind")

    def __init__(self, part: Stretch, kind: str) -> None:
        self.kind, self._part = kind, part
        self._make: Callable[[Stretch, int], Iterator[tuple[int, Any]]] = {
            "json": _json, "jsonl": _jsonl, "csv": _csv, "tsv": _tsv,
        }[kind]  # fmt: skip
        self._marks = [part.start]
        """Where every thousandth record begins, as far as somebody has looked."""
        self._count: int | None = None

    def __iter__(self) -> Iterator[Any]:
        return self._from(0)

    def __len__(self) -> int:
        if self._count is None:
            self._count = self._counted()
        return self._count

    def _counted(self) -> int:
        # Also asked by `list(records(...))`, which then goes through them all: without making an object of each.
        part = self._part
        if self.kind == "jsonl":
            return _count_jsonl(part.source.text, part.start, part.end)
        if self.kind == "json":
            return sum(1 for _ in self._from(0))
        return _count_rows(part, "\t" if self.kind == "tsv" else ",")

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """One record, or a list of records."""
        if isinstance(index, slice):
            forward = (index.step or 1) > 0 and (index.start or 0) >= 0 and index.stop is not None and index.stop >= 0
            chosen = range(index.start or 0, index.stop, index.step or 1) if forward else range(len(self))[index]
            if chosen.step < 0:
                return [self[place] for place in chosen]
            return list(islice(self._from(chosen.start), 0, max(0, chosen.stop - chosen.start), chosen.step))
        if index < 0:
            index = range(len(self))[index]
        for record in self._from(index):
            return record
        raise IndexError(f"there is no record {index:,}: there are {len(self):,}")

    def __repr__(self) -> str:
        first = [shown(repr(record)[:400], 150) for record in self[:4]]
        count = "" if self._count is None else f"{self._count:,} "
        source = self._part.source
        name = shown(source.documents[source.index_at(self._part.start)])
        head = f"{count}records of {name} ({self.kind}), the first ones:" if first else f"no records in {name}"
        return listed(head, first, "records", max(0, (self._count or 0) - len(first)))

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """The document that they are read from, and its kind."""
        return Records, (self._part, self.kind)

    def _from(self, index: int) -> Iterator[Any]:
        block = min(index // MARK_EVERY, len(self._marks) - 1)
        number = block * MARK_EVERY
        for after, record in self._make(self._part, self._marks[block]):
            number += 1
            if number % MARK_EVERY == 0 and number // MARK_EVERY == len(self._marks):
                self._marks.append(after)
            if number > index:
                yield record


def records(doc: str | None = None, kind: str | None = None) -> Records:
    """The records of a document (of the first context without `doc`): JSON, JSON Lines or CSV, parsed one by one.

    `kind`: "json" (the items of a list, or a single value), "jsonl", "csv" or "tsv" (dicts, with the first line as
    keys); by default it follows from the document's name or beginning. A record that cannot be parsed is a Bad (line,
    error); the others follow.
    """
    used("records")
    part = one_document(doc)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(map(repr, KINDS))}, not {kind!r}")
    return Records(part, kind or kind_of(part))


def kind_of(part: Stretch) -> str:
    """What kind a document seems to be, by its name or else by its beginning.

    Raises:
        ValueError: it seems to have no records.
    """
    source = part.source
    name = source.documents[source.index_at(part.start)]
    known = _ENDINGS.get(name.rpartition(".")[2].lower())
    if known is not None:
        return known
    start = _skip(source.text, part.start, part.end)
    first = source.text[start : start + 1]
    if first == "[":
        return "json"
    if first != "{":
        line = source.text[start : min(start + 2000, line_end(source.text, start, min(part.end, start + 2000)))]
        if line and not {"\t", ","} & set(line):
            raise ValueError(
                f"{shown(name)} begins neither as JSON nor as CSV: say which it is (kind='csv'), or take its lines "
                f"and chunks"
            )
        return "tsv" if line.count("\t") > line.count(",") else "csv"
    end = line_end(source.text, start, part.end)
    try:
        json.loads(source.text[start:end])
    except (ValueError, RecursionError):
        return "json"
    return "jsonl" if _skip(source.text, end, part.end) < part.end else "json"


def _skip(text: str, start: int, end: int) -> int:
    found = _SPACE.match(text, start, end)
    return found.end() if found is not None else start


def _bad(part: Stretch, place: int, error: Exception, base: int = 0) -> Bad:
    """`place`: where the record begins; `base`: where the JSON parser's offsets begin."""
    source = part.source
    ends = source.lines.ends_before
    before = ends(source.starts[source.index_at(part.start)]) - 1
    line, said = ends(place) - before, str(error)
    if isinstance(error, RecursionError):
        said = "it is nested too deep"
    elif isinstance(error, json.JSONDecodeError):
        there = ends(min(part.end, base + error.pos)) - before
        said = error.msg if there == line else f"{error.msg}, in line {there}"
    return Bad(line, said[:ERROR_CHARS])


def _jsonl(part: Stretch, start: int) -> Iterator[tuple[int, Any]]:
    text = part.source.text
    while start < part.end:
        stop = line_end(text, start, part.end)
        line = text[start:stop]
        if line and not line.isspace():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                value = _bad(part, start, error, start)
            yield stop, value
        start = stop


def _count_jsonl(text: str, start: int, end: int) -> int:
    count = 0
    while start < end:
        stop = line_end(text, start, end)
        count += not (text[start] == "\n" or text[start:stop].isspace())
        start = stop
    return count


def _json(part: Stretch, start: int) -> Iterator[tuple[int, Any]]:
    text, end = part.source.text, part.end
    if start == part.start:
        start = _skip(text, start, end)
        if text[start : start + 1] != "[":
            try:
                yield end, json.loads(text[start:end])
            except (ValueError, RecursionError) as error:
                yield end, _bad(part, start, error, start)
            return
        start = _skip(text, start + 1, end)
        if text[start : start + 1] == "]":
            return
    decode = json.JSONDecoder().raw_decode
    while start < end:
        try:
            value, after = decode(text, start)
            comma = _COMMA.match(text, after, end)
            # The decoder knows no end: it may have read on into the next document.
            if after > end or comma is None:
                raise ValueError("a comma or the end of the list is missing")
        except (ValueError, RecursionError) as error:  # the last one: nobody knows where the next one begins
            yield end, _bad(part, start, error)
            return
        is_last = comma[1] == "]"
        yield end if is_last else comma.end(), value
        start = comma.end()
        if is_last:
            if start < end:
                yield end, _bad(part, start, ValueError("there is more behind the list"))
            return


def _csv(part: Stretch, start: int) -> Iterator[tuple[int, Any]]:
    return _rows(part, start, ",")


def _tsv(part: Stretch, start: int) -> Iterator[tuple[int, Any]]:
    return _rows(part, start, "\t")


class _Lines:
    """The lines of a part of a text, for the CSV reader. `place`: how far it has read; a record may take several."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text, self.place, self._end = text, start, end

    def __iter__(self) -> Iterator[str]:
        while self.place < self._end:
            start, self.place = self.place, line_end(self._text, self.place, self._end)
            yield self._text[start : self.place]


def _rows(part: Stretch, start: int, delimiter: str) -> Iterator[tuple[int, Any]]:
    lines = _Lines(part.source.text, part.start, part.end)
    try:
        names = next(csv.reader(lines, delimiter=delimiter), None)
    except csv.Error as error:
        yield part.end, _bad(part, part.start, error)
        return
    if names is None:
        return
    lines = _Lines(part.source.text, max(start, lines.place), part.end)
    # strict: bad quoting is an error of its row; otherwise the reader would guess.
    reader = csv.DictReader(iter(lines), names, delimiter=delimiter, strict=True)
    while True:
        place = lines.place
        try:
            value: Any = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            value = _bad(part, place, error)
        else:
            if None in value or None in value.values():
                value = _bad(part, place, ValueError(f"it has not the {len(names)} fields of the first line"))
        yield lines.place, value


def _count_rows(part: Stretch, delimiter: str) -> int:
    """How many records `_rows` makes: of each row but the first and empty ones, and of each error."""
    lines, count = _Lines(part.source.text, part.start, part.end), 0
    names = csv.reader(lines, delimiter=delimiter)
    try:
        if next(names, None) is None:
            return 0
    except csv.Error:
        return 1
    rows = csv.reader(iter(_Lines(part.source.text, lines.place, part.end)), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return count
        except csv.Error:
            row = [""]
        count += bool(row)
