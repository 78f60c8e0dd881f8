"""How much of a session's contexts was delivered, explored and cited.

Is: sums, each from a stated source: what the host saw, or what the kernel says. Is not: anything about what a step did
with a text's own methods, which nobody can see. Above: `check.py`. Below: `documents.py`, `session/kernels/claimed.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.context.loader.index import Changed
from rlm_kernel_mcp.session.contexts.contexts import ContextList
from rlm_kernel_mcp.session.evidence.citations import DOCUMENTS_SHOWN, Coverage, DocumentCoverage
from rlm_kernel_mcp.session.evidence.documents import Documents, Listed
from rlm_kernel_mcp.session.evidence.keys import Needle, Needles
from rlm_kernel_mcp.session.evidence.sought import Found, Hit
from rlm_kernel_mcp.session.evidence.streams import forms_of
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook, PlacedLine
from rlm_kernel_mcp.text.safe_text import safe_text

PLACED_MAX: Final = 500
"""Lines whose places are looked up, each of which reads a part of its document: for the map of the contexts."""


@dataclass(slots=True)
class DeliveredLines:
    """Lines of output that are looked for in the sources; each counts once, where it is found first."""

    lines: Sequence[str]
    events: Sequence[int] = ()
    """Of each line, the row of its step; 0: of none."""
    placed: list[PlacedLine] = field(default_factory=list)
    """Where some of those that were found stand."""
    chars: dict[Listed, int] = field(default_factory=lambda: defaultdict(int))
    """Characters of those that were found, by document."""

    def needles(self) -> list[Needle]:
        """As needles, with owners below 0."""
        return [Needle(form, -1 - number) for number, line in enumerate(self.lines) for form in forms_of(line)]

    def take(self, hit: Hit, needles: Needles) -> None:
        """Count one that was found."""
        number = -1 - hit.needle.owner
        self.chars[hit.listed] += len(self.lines[number])
        needles.done(hit.needle)
        event = self.events[number] if number < len(self.events) and len(self.placed) < PLACED_MAX else 0
        if event:
            with suppress(Changed, IndexError):
                place = hit.stream.chars_of(hit.start, hit.start + len(hit.needle.data))
                self.placed.append(PlacedLine(event, hit.listed.context, hit.listed.number, *place))


def coverage_of(
    documents: Documents,
    contexts: ContextList,
    book: EvidenceBook,
    cited: Iterable[Found],
    delivered: Mapping[Listed, int] | None,
) -> Coverage:
    """All sums. `delivered`: characters of output that were found, by document; None: they were not looked for."""
    ranges: dict[Listed, list[tuple[int, int]]] = defaultdict(list)
    for one in cited:
        ranges[one.listed].append((one.passage.start_char, one.passage.end_char))
    known = {one.name: one.report.chars for one in contexts.all if one.report is not None}
    explored = [one for one in book.explored.values() if one.context in known]
    return Coverage(
        chars=sum(known.values()),
        delivered=book.delivered_chars,
        delivered_by_text=None if delivered is None else sum(delivered.values()),
        # Clamped: a kernel can claim to have covered more than there is.
        searched=sum(max(0, min(one.searched, known[one.context])) for one in explored),
        ranked=sum(max(0, min(one.ranked, known[one.context])) for one in explored),
        cited=sum(map(union, ranges.values())),
        by_document=tuple(_by_document(documents, {one: union(rows) for one, rows in ranges.items()}, delivered)),
        changed=documents.has_changed,
    )


def union(ranges: Iterable[tuple[int, int]]) -> int:
    """How many characters some ranges cover, each counted once."""
    chars = reached = 0
    for start, end in sorted(ranges):
        chars += max(0, end - max(start, reached))
        reached = max(reached, end)
    return chars


def _by_document(
    documents: Documents, cited: Mapping[Listed, int], delivered: Mapping[Listed, int] | None
) -> Iterable[DocumentCoverage]:
    if not cited and not delivered:
        return
    shown = [one for one in documents.listed() if cited.get(one) or (delivered or {}).get(one)]
    for listed in shown[:DOCUMENTS_SHOWN]:
        with documents.open(listed) as document:
            try:
                chars = 0 if document is None else document.chars
            except Changed:
                chars = 0
        by_text = None if delivered is None else delivered.get(listed, 0)
        yield DocumentCoverage(safe_text(listed.name), chars, by_text, cited.get(listed, 0))
