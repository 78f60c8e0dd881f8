"""`look` and `tree`: an overview, before anything is searched.

Is: sizes, kinds, beginnings, the shapes of lines. Counts of lines and characters are exact; the line shapes of a large
text come from a sample, and the result says so. Is not: a search. Above: `in_kernel/namespace/`.
Below: `records.py`, `spans.py`, `sources.py`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.explore.hits import Counts
from rlm_kernel_mcp.in_kernel.explore.matching.windows import line_end
from rlm_kernel_mcp.in_kernel.explore.records import Bad, Records, kind_of
from rlm_kernel_mcp.in_kernel.explore.searching import line_shape
from rlm_kernel_mcp.in_kernel.explore.sources import Stretch, one_document, sources
from rlm_kernel_mcp.in_kernel.explore.spans import REPR_CHARS, Chunk, Span, count_lines, shown
from rlm_kernel_mcp.in_kernel.explore.usage import used

SAMPLE_PARTS: Final = 32
SAMPLE_CHARS: Final = 1 << 16
"""Of a text larger than this many parts of this many characters, only such parts are examined."""
EDGE_CHARS: Final = 400
HEADINGS_MAX: Final = 50
KEYS_MAX: Final = 50
RECORD_CHARS: Final = 1 << 20
_HEADING: Final = re.compile(r"#{1,6} \S[^\n\r]*")


class Look:
    """An overview of a text: `kind`, `chars`, `lines`, `documents`, `longest_line`, `head`, `tail`, `shapes` (kinds of
    lines and how many there are), `headings` (Spans), `keys` (of records), `files` (how many by extension), `sampled`
    (whether shapes, headings and the longest line come from a sample)."""  # noqa: D205, D209

    __slots__ = (
        "_part", "chars", "documents", "files", "head", "headings", "keys", "kind", "lines", "longest_line", "sampled",
        "shapes", "tail",
    )  # fmt: skip

    def __init__(self, part: Stretch) -> None:
        source, self._part = part.source, part
        first, last = source.index_at(part.start), source.index_at(max(part.start, part.end - 1))
        names = source.documents[first : last + 1]
        self.documents, self.files = len(names), Counts(Counter(map(_ending, names)).most_common())
        self.chars, self.lines = part.end - part.start, count_lines(part)
        self.head = source.text[part.start : min(part.end, part.start + EDGE_CHARS)]
        self.tail = source.text[max(part.start, part.end - EDGE_CHARS) : part.end]
        self.sampled = self.chars > SAMPLE_PARTS * SAMPLE_CHARS
        shapes, self.longest_line, self.headings = Counter[str](), 0, list[Span]()
        for start, end in _lines(part, sampled=self.sampled):
            self.longest_line = max(self.longest_line, end - start)
            line = source.text[start : min(end, start + EDGE_CHARS)].rstrip("\r\n")
            shapes[line_shape(line)] += 1
            if len(self.headings) < HEADINGS_MAX and line.startswith("#") and _HEADING.fullmatch(line):
                self.headings.append(Chunk(source, start, start + len(line)))
        self.shapes = Counts(shapes.most_common(1000))
        self.kind, self.keys = _kind(part) if self.documents == 1 else ("documents", [])

    def __repr__(self) -> str:
        sample = " (of a sample)" if self.sampled else ""
        size = (
            f"{self.kind}: {self.chars:,} characters, {self.lines:,} lines, the longest {self.longest_line:,}{sample}"
        )
        rows = [size]
        if self.documents > 1:
            rows.append(
                f"{self.documents:,} documents: {_some(f'{count:,} {name}' for name, count in self.files.items())}"
            )
        if self.keys:
            rows.append(f"keys: {_some(self.keys)}")
        if self.headings:
            rows.append(f"headings: {_some(heading.text for heading in self.headings)}")
        rows.append(f"head: {shown(self.head, 160)}")
        rows.append(f"tail: {shown(self.tail[-100:], 120)}")
        rows.append(f"kinds of lines{sample}:")
        left = REPR_CHARS - sum(len(row) + 1 for row in rows)
        for shape, count in self.shapes.items():
            row = f"{count:>7,} {shown(shape, 80) or '(empty)'}"
            left -= len(row) + 1
            if left < 0:
                break
            rows.append(row)
        return "\n".join(rows)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """The part of a text that it describes."""
        return Look, (self._part,)


class Tree:
    """Documents as a directory tree: `rows` of (path, documents, characters), each including everything below it."""

    __slots__ = ("depth", "rows")

    def __init__(self, depth: int, rows: list[tuple[str, int, int]]) -> None:
        self.depth, self.rows = depth, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        lines, left = list[str](), REPR_CHARS - 40
        for path, documents, chars in self.rows:
            many = f", {documents:,} document{'' if documents == 1 else 's'}" if path.endswith("/") else ""
            line = f"{'  ' * min(path.rstrip('/').count('/'), 8)}{shown(path, 100)}: {chars:,} characters{many}"
            left -= len(line) + 1
            if left < 0:
                lines.append(f"… {len(self.rows) - len(lines):,} more rows")
                break
            lines.append(line)
        return "\n".join(lines)


def look(doc: str | None = None) -> Look:
    """An overview of a document (of all of the first context without `doc`): size, head and tail, kinds of lines and
    how many there are, Markdown headings, keys of records, files by extension.

    The Look has kind, chars, lines, documents, longest_line, head, tail, shapes, headings, keys, files, sampled.
    """  # noqa: D205
    used("look")
    return Look(one_document(doc))


def tree(depth: int = 2) -> Tree:
    """The documents of all contexts as a directory tree down to a depth, with the number and size of what is below."""
    used("tree")
    if depth < 1:
        raise ValueError(f"depth is at least 1, not {depth}")
    documents, chars = Counter[str](), Counter[str]()
    for source in sources():
        for index, name in enumerate(source.documents):
            start, end = source.document(index)
            parts = name.split("/")
            for level in range(1, min(len(parts), depth) + 1):
                path = "/".join(parts[:level]) + ("/" if level < len(parts) else "")
                documents[path] += 1
                chars[path] += end - start
    return Tree(depth, [(path, documents[path], chars[path]) for path in sorted(documents)])


def _ending(name: str) -> str:
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if dot and stem else "(no ending)"


def _some(texts: Any) -> str:
    return shown(", ".join(list(map(str, texts))[:20]), 160)


def _lines(part: Stretch, *, sampled: bool) -> Iterator[tuple[int, int]]:
    """Where lines begin and end; `sampled`: only in parts that are spread evenly over the text."""
    text, size = part.source.text, part.end - part.start
    places = [(part.start, part.end)]
    if sampled:
        # Spread evenly: logs and dumps change their shape along the way, so the beginning alone would mislead.
        starts = [part.start + size * index // SAMPLE_PARTS for index in range(SAMPLE_PARTS)]
        places = [(start, start + SAMPLE_CHARS) for start in starts]
    for low, high in places:
        # A sampled part begins in the middle of a line, so its first whole line is the next one.
        start = low if low == part.start else line_end(text, low, min(high, part.end))
        while start < high:
            end = line_end(text, start, part.end)
            yield start, end
            start = end


def _kind(part: Stretch) -> tuple[str, list[str]]:
    """The kind of a document, and the keys of its records."""
    text = part.source.text
    name = part.source.documents[part.source.index_at(part.start)].rpartition(".")[2].lower()
    begin = text[part.start : min(part.end, part.start + 4_000)].lstrip()
    if name in ("json", "jsonl", "ndjson") or begin[:1] in ("{", "["):
        kind = kind_of(part)
        # A single JSON value, unlike a list, can only be parsed as a whole: too slow here if it is large.
        is_one = kind == "json" and begin[:1] != "[" and part.end - part.start > RECORD_CHARS
        first = None if is_one else next(iter(Records(part, kind)), None)
        if not isinstance(first, Bad):
            return kind, list(map(str, first))[:KEYS_MAX] if isinstance(first, dict) else []
    if name in ("csv", "tsv"):
        rows = csv.reader(begin.splitlines()[:1], delimiter="\t" if name == "tsv" else ",")
        return name, next(rows, [])[:KEYS_MAX]
    if name in ("md", "markdown"):
        return "markdown", []
    return "text", []
