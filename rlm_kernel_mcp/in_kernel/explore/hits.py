"""What a search has found: only the places, from which a `Hit` is made when somebody looks at it.

Is: `Hits`, a sequence, and `Counts`. Is not: a search (`searching.py`). Above: the modules beside it.
Below: `spans.py`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, Literal, Protocol, overload

from rlm_kernel_mcp.in_kernel.explore.matching.windows import Spans, Subject
from rlm_kernel_mcp.in_kernel.explore.sources import Source
from rlm_kernel_mcp.in_kernel.explore.spans import REPR_CHARS, Hit, Span, shown

HITS_SHOWN: Final = 5
LARGE: Final = 1 << 32
"""From here on a number takes 8 bytes."""
TAKEN: Final = 32
"""So few matches are added to those before: a pair of arrays has 400 bytes, and takes as long to make."""
TOGETHER: Final = 1 << 16
"""Matches in one pair of arrays: larger ones take longer to grow than the search, since glibc copies them each time."""

Kind = Literal["I", "Q"]
"""What an array of numbers is of."""


class Grouping(Protocol):
    """Finds what the groups of the pattern captured in a match."""

    def groups(self, subject: Subject, start: int, end: int, span: tuple[int, int]) -> tuple[str | None, ...]: ...


class Places:
    """Matches in one source, in order, as two arrays of numbers that count from `base`."""

    __slots__ = ("base", "ends", "source", "starts")

    def __init__(self, source: Source, starts: Sequence[int], ends: Sequence[int], base: int = 0) -> None:
        self.source, self.base = source, base
        # Arrays: a million hits take 8 MB, as objects more than 100 (decision 0097).
        kind: Kind = "I" if not ends or ends[-1] < LARGE else "Q"
        self.starts, self.ends = array(kind, starts), array(kind, ends)

    def take(self, spans: Spans) -> bool:
        """Append more matches, in order, if they are few and near: many are quicker as places of their own."""
        more = spans.base - self.base
        if len(spans) > TAKEN or len(self.starts) > TOGETHER or more < 0 or more + spans.ends[-1] >= LARGE:
            return False
        kind = self.starts.typecode
        self.starts += array(kind, [more + start for start in spans.starts])  # a quarter of the time of `extend`
        self.ends += array(kind, [more + end for end in spans.ends])
        return True

    def __iter__(self) -> Iterator[tuple[int, int]]:
        in_text = self.base.__add__
        return zip(map(in_text, self.starts), map(in_text, self.ends), strict=True)

    def part(self, start: int, stop: int, step: int) -> Places:
        """A slice of them."""
        return Places(self.source, self.starts[start:stop:step], self.ends[start:stop:step], self.base)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        numbers = self.starts.tobytes(), self.ends.tobytes()
        return _places_again, (self.source, *numbers, self.base, self.starts.typecode)


def _places_again(source: Source, starts: bytes, ends: bytes, base: int = 0, kind: Kind = "Q") -> Places:
    # A snapshot of an earlier version has neither a base nor narrow numbers.
    return Places(source, memoryview(starts).cast(kind), memoryview(ends).cast(kind), base)


class Hits(Sequence[Hit]):
    """What was found, in the order of the texts: `len(h)`, `h[0]` (a Hit), `h[5:]` (Hits), iteration.

    `more`: whether there are others (`search(..., start=h.next)` continues). `total`: how many there are in all; None
    if the limit was reached. `lines`: each line with a hit once, as a Span. `engine`: what searched. `note`: anything
    special about the search.
    """

    __slots__ = ("_firsts", "_grouping", "_places", "_scores", "engine", "more", "next", "note", "query", "total")

    def __init__(self, query: str, places: Sequence[Places], engine: str, note: str = "") -> None:
        self.query, self.engine, self.note = query, engine, note
        self._places = [one for one in places if len(one.starts)]
        self._firsts = list(accumulate((len(one.starts) for one in self._places), initial=0))
        self._grouping: Grouping | None = None
        self._scores: list[float] | None = None
        self.more = False
        self.next: int | None = None
        self.total: int | None = len(self)

    def use_groups(self, grouping: Grouping) -> None:
        """Set what finds the groups of a hit."""
        self._grouping = grouping

    def use_scores(self, scores: list[float]) -> None:
        """Set the score of each hit."""
        self._scores = scores

    @property
    def lines(self) -> list[Span]:
        """Each line with a hit, once."""
        found: list[Span] = []
        source, low, high = None, 0, 0
        for one in self._places:
            if one.source is not source:
                source, low, high = one.source, 0, 0
            for start, end in one:
                if not low <= start < high:
                    found.append(line := Span(source, start, end).lines())
                    low, high = line.start, line.end
        return found

    def __len__(self) -> int:
        return self._firsts[-1]

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Hits: ...
    def __getitem__(self, index: int | slice) -> Hit | Hits:
        """One hit, or some of them."""
        if isinstance(index, slice):
            return self._some(index)
        place = range(len(self))[index]
        which = bisect_right(self._firsts, place) - 1
        return self._hit(self._places[which], place - self._firsts[which], place)

    def __iter__(self) -> Iterator[Hit]:
        place = 0
        for one in self._places:
            for index in range(len(one.starts)):
                yield self._hit(one, index, place)
                place += 1

    def _hit(self, places: Places, index: int, place: int) -> Hit:
        start, end = places.base + places.starts[index], places.base + places.ends[index]
        source = places.source
        groups: tuple[str | None, ...] = ()
        if self._grouping is not None:
            document = source.document(source.index_at(start))
            groups = self._grouping.groups(source.subject, *document, (start, end))
        return Hit(source, start, end, groups, None if self._scores is None else self._scores[place])

    def _some(self, index: slice) -> Hits:
        chosen = range(len(self))[index]
        if chosen.step == 1:
            parts = [
                one.part(max(0, chosen.start - first), max(0, chosen.stop - first), 1)
                for one, first in zip(self._places, self._firsts, strict=False)
            ]
        else:
            parts = [Places(hit._source, [hit.start], [hit.end]) for hit in map(self.__getitem__, chosen)]
        found = Hits(self.query, parts, self.engine, self.note)
        found._grouping = self._grouping
        found._scores = None if self._scores is None else [self._scores[place] for place in chosen]
        return found

    def __repr__(self) -> str:
        first = [repr(hit) for hit in self[:HITS_SHOWN]]
        count = f"{len(self):,} hit{'' if len(self) == 1 else 's'}"
        more = f", and more (start={self.next})" if self.more else ""
        note = f"; {self.note}" if self.note else ""
        return listed(
            f"{count} of {shown(self.query, 60)}{more}{shown(note, 150)}", first, "hits", len(self) - len(first)
        )

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """The places and what the repr shows; the groups are found again when they are asked for."""
        return _hits_again, (
            self.query,
            self._places,
            self.engine,
            self.note,
            self._scores,
            self.more,
            self.next,
            self.total,
            self._grouping,
        )


def _hits_again(query: str, places: list[Places], engine: str, note: str, *rest: Any) -> Hits:
    found = Hits(query, places, engine, note)
    found._scores, found.more, found.next, found.total, *grouping = rest
    found._grouping = grouping[0] if grouping else None  # a snapshot of an earlier version has none
    return found


def listed(head: str, items: Sequence[str], name: str, rest: int = 0) -> str:
    """A heading, as many numbered items as a repr has room for, and how many more there are."""
    lines, left = [head], REPR_CHARS - len(head) - 40
    for index, item in enumerate(items):
        line = f"[{index}] {item}"
        left -= len(line) + 1
        if left < 0:
            break
        lines.append(line)
    rest += len(items) - len(lines) + 1
    return "\n".join([*lines, *([f"… {rest:,} more, {name}[{len(lines) - 1}:]"] if rest else [])])


class Counts(dict[str, int]):
    """How often something was found, by document or line shape, most frequent first. `total`: the sum."""

    @property
    def total(self) -> int:
        """The sum of all counts."""
        return sum(self.values())

    def __repr__(self) -> str:
        text, shown_count = f"{self.total:,} in {len(self):,}: {{", 0
        for name, count in self.items():
            item = f"{', ' if shown_count else ''}{shown(repr(name), 160)}: {count}"
            if len(text) + len(item) > REPR_CHARS - 40:
                break
            text += item
            shown_count += 1
        rest = len(self) - shown_count
        return text + (f", … {rest:,} more}}" if rest else "}")
