"""Checks what an answer rests on: its marks and quotes become citations, from the current bytes of the sources.

Is: each mark and quote, and the coverage of the contexts. Is not: the answer's fate (`session/finalize.py`).
Blocking: it belongs into a worker thread. Above: that. Below: the modules beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from rlm_kernel_mcp.context.loader.index import Changed
from rlm_kernel_mcp.context_wire import CITED_CHARS_MAX, Claim
from rlm_kernel_mcp.session.contexts.contexts import ContextList
from rlm_kernel_mcp.session.evidence.citations import (
    TEXT_CHARS,
    Checked,
    Citation,
    Coverage,
    Nearest,
    Passage,
    Quote,
    Status,
    within_room,
)
from rlm_kernel_mcp.session.evidence.coverage import DeliveredLines, coverage_of
from rlm_kernel_mcp.session.evidence.documents import Documents, Listed
from rlm_kernel_mcp.session.evidence.nearest import Seeds
from rlm_kernel_mcp.session.evidence.quotes import MATCHES_MAX, find_exact, find_spaced
from rlm_kernel_mcp.session.evidence.sought import Found, Limits, Sought
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook
from rlm_kernel_mcp.text.safe_text import safe_text

QUOTE_CHARS_MIN: Final = 12
"""A shorter one occurs somewhere by chance. A run of white space counts as one character."""
PLACES_MAX: Final = 20
"""A quote with more places than this is evidence for none of them."""
MARKS_MAX: Final = 1_000
BY_TEXT_BYTES: Final = 16 << 20
"""Larger sources are not read just to find out what was delivered."""
OUT_OF_REACH: Final = (
    "It cannot be read any more: a directory that was allowed was moved, removed or replaced, or is out of reach."
)
NO_TIME: Final = "The nearest passage was not looked for: the time for that was up."


def check(
    contexts: ContextList, book: EvidenceBook, marks: Sequence[int], quotes: Sequence[Quote], limits: Limits
) -> Checked:
    """Check all marks and quotes.

    Raises:
        What `limits.check_cancelled` raises; ContextDenied: the roots cannot be looked at.
    """
    with Documents(contexts, limits.check_cancelled) as documents:
        return _Check(documents, contexts, book, limits).made(marks, quotes)


def unread(contexts: ContextList, book: EvidenceBook) -> Checked:
    """What is known of an answer that cites nothing if no source is read."""
    with Documents(contexts) as documents:
        return Checked((), coverage_of(documents, contexts, book, (), None))


@dataclass(slots=True)
class _Mark:
    number: int
    why: str | None = None
    """Why it does not pass."""
    has_changed: bool = False
    """Whether that is because its document is another one by now."""
    found: Found | None = None
    sought: Sought | None = None
    """The claimed text, if it is no longer at its place: the nearest passage is looked for."""


@dataclass(slots=True)
class _Check:
    documents: Documents
    contexts: ContextList
    book: EvidenceBook
    limits: Limits
    delivered: dict[Listed, int] | None = None
    """Characters of output lines that were found, by document; None: they were not looked for."""

    def made(self, numbers: Sequence[int], quotes: Sequence[Quote]) -> Checked:
        marks = self._marks(numbers)
        all_sought = [Sought(quote) for quote in quotes]
        wanted = [one for one in all_sought if _chars(one.quote.text) >= QUOTE_CHARS_MIN]
        self._find([*wanted, *(one.sought for one in marks if one.sought is not None)])
        cited = [self._citation_of_mark(one) for one in marks]
        cited += [self._citation(number, one) for number, one in enumerate(all_sought, 1)]
        return Checked(within_room(cited), self._coverage(marks, all_sought))

    # --- marks ------------------------------------------------------------------------------------

    def _marks(self, numbers: Sequence[int]) -> list[_Mark]:
        """All of them; those in one document are looked up together, in the order in which they lie there."""
        marks, claimed = [], dict[tuple[str, str], list[tuple[Claim, _Mark]]]()
        for number in numbers:
            marks.append(made := _Mark(number))
            if (claim := self._claim(made)) is None:
                continue
            if not 0 <= claim.start < claim.end or claim.end - claim.start > CITED_CHARS_MAX:
                made.why = f"A place has from 1 to {CITED_CHARS_MAX:,} characters."
            else:
                claimed.setdefault((claim.context, claim.document), []).append((claim, made))
        for named, some in claimed.items():
            if (listed := self.documents.find(*named)) is not None:
                self._place(listed, sorted(some, key=lambda one: one[0].start))
                continue
            for _, made in some:
                made.why = "There is no such document, or it cannot be read any more."
        return marks

    def _claim(self, made: _Mark) -> Claim | None:
        claim = self.book.claims.get(made.number)
        if claim is None:
            more = f"; no more than {len(self.book.claims):,} are kept" if self.book.is_full else ""
            last = max(self.book.claims, default=0)
            known = f"the last one is [c{last}]" if last else "cite(hit) in a step makes one"
            made.why = f"No step of this session has made this mark: {known}{more}."
        elif made.number in self.book.ambiguous:
            made.why = "Two places of this session have this number; give the passage in quotes."
            return None
        return claim

    def _place(self, listed: Listed, claimed: Sequence[tuple[Claim, _Mark]]) -> None:
        """Look marks up in their document, which is read once from its beginning to its end."""
        found: dict[int, tuple[Passage, bool]] = {}  # and whether its text is what was claimed
        chars = 0
        with self.documents.open(listed) as document:
            for at, (claim, _) in enumerate(claimed):
                try:
                    if document is not None and claim.end <= (chars := document.chars):
                        passage, text = document.passage(claim.start, claim.end)
                        found[at] = passage, passage.sha256 == claim.sha256 or _is_claimed(text, claim)
                except (Changed, IndexError):
                    self.documents.changed.add((listed.context, listed.name))
        # Only now it is known whether it was written to while it was read.
        key, is_as_loaded = (listed.context, listed.name), self.documents.is_as_loaded(listed)
        if not is_as_loaded and not all(is_claimed for _, is_claimed in found.values()):
            self.documents.changed.add(key)
        for at, (claim, made) in enumerate(claimed):
            if at in found and (found[at][1] or is_as_loaded):
                made.found = Found(listed, found[at][0])
            elif self.documents.is_out_of_reach(listed):
                made.why = OUT_OF_REACH
            elif key not in self.documents.changed:
                made.why = f"The place ends outside of the document's {chars:,} characters."
            else:
                made.why, made.has_changed = "The document has changed, and the passage is no longer there.", True
                if _chars(claim.text) >= QUOTE_CHARS_MIN:
                    made.sought = Sought(Quote(claim.text))

    def _citation_of_mark(self, mark: _Mark) -> Citation:
        if mark.found is not None:
            return Citation(f"c{mark.number}", "marker", "verified", mark.found.passage)
        nearest = None
        if mark.sought is not None:
            found = mark.sought.found
            nearest = Nearest(found.passage, 1.0) if found is not None else mark.sought.nearest
        status: Status = "changed" if mark.has_changed else "missing"
        return Citation(f"c{mark.number}", "marker", status, given=f"[c{mark.number}]", nearest=nearest, why=mark.why)

    # --- quotes -----------------------------------------------------------------------------------

    def _find(self, wanted: Sequence[Sought]) -> None:
        size = sum(one.report.bytes for one in self.contexts.all if one.report is not None)
        lines = DeliveredLines(list(self.book.lines), list(self.book.lines.values()))
        if self.book.is_whole and (wanted or size <= BY_TEXT_BYTES or not lines.lines):
            self.delivered = lines.chars
        needles = [] if self.delivered is None else lines.needles()
        if wanted or needles:
            find_exact(self.documents, wanted, self.limits, needles, lines.take)
            self.book.placed = lines.placed
        left = [one for one in wanted if one.found is None and not one.is_unchecked]
        if left:
            seeds = Seeds(left)
            seeds.align_keys(self.documents, self.limits)
            find_spaced(self.documents, left, self.limits, seeds.needles, seeds.take)
            seeds.align(self.documents, self.limits)

    def _citation(self, number: int, sought: Sought) -> Citation:
        given = safe_text(sought.quote.text[:TEXT_CHARS])
        made = Citation(f"q{number}", "quote", "missing", given=given, matches=sought.matches)
        if _chars(sought.quote.text) < QUOTE_CHARS_MIN:
            why = f"A quote of fewer than {QUOTE_CHARS_MIN} characters is no evidence: quote more of the passage."
            return replace(made, why=why, matches=None)
        if sought.is_unchecked:
            why = "It was not found, since nothing of it is rare: quote more of the passage."
            return replace(made, why=why, matches=None)
        if sought.found is None:
            return self._not_found(made, sought)
        if sought.matches > PLACES_MAX:
            times = f"{sought.matches:,}{' or more' if sought.matches >= MATCHES_MAX else ''} places"
            why = f"It stands at {times}: at more than {PLACES_MAX} it is no evidence; quote more of the passage."
            return replace(made, why=why)
        status: Status = "verified" if sought.is_exact else "whitespace"
        return replace(made, status=status, passage=sought.found.passage, given="")

    def _not_found(self, made: Citation, sought: Sought) -> Citation:
        if self.documents.unread or any(map(sought.is_in, self._changed_listed())):
            why = "It is not there, and a source is another than the one that was loaded, or cannot be read."
            return replace(made, status="changed", nearest=sought.nearest, why=why)
        if not self.documents.listed(sought.quote.doc):
            named = safe_text((sought.quote.doc or "")[:TEXT_CHARS])
            return replace(made, why=f"No document or context is called “{named}”, which its doc says.")
        if sought.nearest is not None:
            why = "It does not stand there word for word; the nearest passage does."
            return replace(made, status="near", nearest=sought.nearest, why=why)
        return replace(made, why=NO_TIME if sought.near_unknown else "Nothing like it is in the sources.")

    def _changed_listed(self) -> list[Listed]:
        return [found for context, name in self.documents.changed if (found := self.documents.find(context, name))]

    # --- coverage ---------------------------------------------------------------------------------

    def _coverage(self, marks: Sequence[_Mark], all_sought: Sequence[Sought]) -> Coverage:
        passed = [one.found for one in marks if one.found is not None]
        passed += [one.found for one in all_sought if one.found is not None and one.matches <= PLACES_MAX]
        return coverage_of(self.documents, self.contexts, self.book, passed, self.delivered)


def _chars(text: str) -> int:
    return len(" ".join(text.split()))


def _is_claimed(text: str, claim: Claim) -> bool:
    # `surrogatepass`, as in the kernel: bytes that do not decode are lone surrogates in the text.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() == claim.sha256
