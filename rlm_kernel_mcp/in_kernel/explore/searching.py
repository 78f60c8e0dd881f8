"""`search` and `count`: where something occurs in the texts, and how often.

Is: the way from a pattern to places, over documents and contexts. Is not: how one part of a text is searched
(`explore/matching/`). Above: `in_kernel/namespace/`. Below: `hits.py`, `sources.py`, `explore/matching/`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from rlm_kernel_mcp.in_kernel.explore.hits import Counts, Hits, Places
from rlm_kernel_mcp.in_kernel.explore.matching.expressions import Expressions
from rlm_kernel_mcp.in_kernel.explore.matching.literals import Literals
from rlm_kernel_mcp.in_kernel.explore.matching.windows import Spans, Subject
from rlm_kernel_mcp.in_kernel.explore.patterns.expression import Expression
from rlm_kernel_mcp.in_kernel.explore.sources import Source, Stretch, stretches
from rlm_kernel_mcp.in_kernel.explore.spans import Span, shown
from rlm_kernel_mcp.in_kernel.explore.usage import used, went_over

PATTERNS_KEPT: Final = 32
SHAPE_CHARS: Final = 100
SHAPES_MAX: Final = 100_000
_NUMBERS: Final = re.compile(r"0[xX][0-9a-fA-F]+|\d+")
_HEX: Final = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b", re.IGNORECASE)
_PLAIN: Final = re.compile(r"[^\\.^$*+?{}\[\]|()]+(?:\|[^\\.^$*+?{}\[\]|()]+)*")
"""Patterns that are words and nothing else, which `re` tries in their order, as `Literals` does."""
BY: Final = ("document", "line shape")


def search(
    pattern: str | Iterable[str],
    *,
    regex: bool = False,
    ignore_case: bool = False,
    docs: object = None,
    start: int = 0,
    limit: int | None = 1000,
) -> Hits:
    r"""Find every occurrence of a text, of several texts (a list), or of a pattern with `regex`. Linear time, any size.

    Args:
        pattern: what to look for.
        regex: the pattern has the syntax of Python's `re` (`\w`, `\d`, `\b` know Unicode); `^` and `$` match at each
            line. RE2 takes linear time; what it lacks (lookaround, backreferences) is left to `re`, as `.engine` says.
        ignore_case: in any case.
        docs: where: a document's or context's name, a pattern (`"*.py"`), a list of these, or a Span; all by default.
        start: how many hits to skip, for the next page (`start=hits.next`).
        limit: how many hits to return at most; None: all.

    Returns:
        Hits: `len`, `[i]`, `[i:j]`, `.more`, `.total`, `.lines`. A Hit has start, end (of its context), text, line
        (as grep -n), doc, groups, chars and bytes (in its document), before(n), after(n), lines(n).
    """
    used("search")
    if start < 0 or (limit is not None and limit < 0):
        raise ValueError(f"start and limit are counts of hits and not negative: start={start}, limit={limit}")
    matcher = _matcher(pattern, regex=regex, ignore_case=ignore_case)
    places, left_out, more = _page(_found(matcher, stretches(docs)), start, limit)
    hits = Hits(_said(pattern), places, matcher.name, matcher.note)
    hits.more, hits.next = more, start + len(hits) if more else None
    hits.total = None if more else left_out + len(hits)
    if isinstance(matcher, Expressions):
        words = (pattern,) if isinstance(pattern, str) else tuple(pattern)
        hits.use_groups(Groups(words, regex, ignore_case, matcher.name == "re"))
    return hits


class Groups(NamedTuple):
    """What some hits were looked for by: from that their groups are found again, also in a fresh kernel."""

    words: tuple[str, ...]
    regex: bool
    ignore_case: bool
    by_re: bool
    """Whether `re` has found them."""

    def groups(self, subject: Subject, start: int, end: int, span: tuple[int, int]) -> tuple[str | None, ...]:
        """What the groups of a match hold; `start`, `end`: of its document."""
        matcher = _made(self.words, regex=self.regex, ignore_case=self.ignore_case)
        if isinstance(matcher, Literals):
            return ()
        return matcher.groups(subject, start, end, span, by_re=self.by_re)


def count(
    pattern: str | Iterable[str],
    *,
    regex: bool = False,
    ignore_case: bool = False,
    docs: object = None,
    by: str = "document",
) -> Counts:
    """How often a text or pattern occurs in each document: a dict, highest first, with `.total`. Builds no hits.

    `pattern`, `regex`, `ignore_case`, `docs`: as in `search`. `by="line shape"`: by the line around each match, with
    every number replaced by 0 (at most 100,000 shapes): which kinds of lines there are.
    """
    used("count")
    if by not in BY:
        raise ValueError(f"by is one of {', '.join(map(repr, BY))}, not {by!r}")
    matcher = _matcher(pattern, regex=regex, ignore_case=ignore_case)
    counts = Counter[str]()
    for source, spans in _found(matcher, stretches(docs)):
        if by == "document":
            _count_documents(counts, source, spans)
        else:
            _count_shapes(counts, source, spans)
    return Counts(counts.most_common())


def line_shape(line: str) -> str:
    """A line with each number replaced by 0, so that lines that differ only in numbers are counted together."""
    return _NUMBERS.sub("0", _HEX.sub("0", line[: 2 * SHAPE_CHARS]))[:SHAPE_CHARS].rstrip()


def _page(found: Iterator[tuple[Source, Spans]], start: int, limit: int | None) -> tuple[list[Places], int, bool]:
    """Matches from `start` on, at most `limit`; how many were skipped before them; and whether there are more."""
    places: list[Places] = []
    skip, room = start, limit
    for source, spans in found:
        wanted = spans[skip:] if skip else spans
        skip = max(0, skip - len(spans))
        if not wanted:
            continue
        kept = wanted if room is None else wanted[:room]
        if kept and not (places and places[-1].source is source and places[-1].take(kept)):
            places.append(Places(source, kept.starts, kept.ends, kept.base))
        if room is not None:
            # The first match beyond the page ends the search, and is how `more` is known.
            if len(wanted) > room:
                return places, start, True
            room -= len(wanted)
    return places, start - skip, False


def _found(matcher: Literals | Expressions, parts: list[Stretch]) -> Iterator[tuple[Source, Spans]]:
    """The matches, some at a time, each time of one source."""
    for part in parts:
        for start, end in part.pieces(apart=matcher.apart):
            reached = start
            try:
                for spans in matcher.find(part.source.subject, start, end):
                    if spans:
                        reached = spans.end
                        yield part.source, spans
                reached = end
            finally:  # also if the caller stops iterating early
                went_over("searched", part.source.name, start, reached)


def _matcher(pattern: str | Iterable[str], *, regex: bool, ignore_case: bool) -> Literals | Expressions:
    words = (pattern,) if isinstance(pattern, str) else tuple(pattern)
    if not words or not all(words):
        raise ValueError("there is nothing to look for: pattern is a text, or a list of texts, none of them empty")
    matcher = _made(words, regex=regex, ignore_case=ignore_case)
    matcher.begin()
    return matcher


@lru_cache(PATTERNS_KEPT)
def _made(words: tuple[str, ...], *, regex: bool, ignore_case: bool) -> Literals | Expressions:
    if not ignore_case and (not regex or all(map(_PLAIN.fullmatch, words))):
        return Literals("|".join(words).split("|") if regex else words)
    sources = words if regex else tuple(map(re.escape, words))
    joined = sources[0] if len(sources) == 1 else "|".join(f"(?:{source})" for source in sources)
    return Expressions(Expression(joined, ignore_case=ignore_case))


def _said(pattern: str | Iterable[str]) -> str:
    return repr(pattern) if isinstance(pattern, str) else shown(repr(list(pattern)), 60)


def _count_documents(counts: Counter[str], source: Source, spans: Spans) -> None:
    starts, base, done = spans.starts, spans.base, 0
    while done < len(starts):
        index, first = source.index_at(base + starts[done]), done
        is_last = index == len(source.documents) - 1
        done = len(starts) if is_last else bisect_left(starts, source.starts[index + 1] - base, done)
        counts[source.documents[index]] += done - first


def _count_shapes(counts: Counter[str], source: Source, spans: Spans) -> None:
    done = -1
    for start, end in spans:
        if start >= done:
            line = Span(source, start, end).lines()
            done = line.end
            shape = line_shape(source.text[line.start : min(line.end, line.start + 2 * SHAPE_CHARS)])
            if shape in counts or len(counts) < SHAPES_MAX:
                counts[shape] += 1
