"""What an answer rests on, as footnotes that a person can follow: `path:line`, and the words that stand there.

Is: markdown of citations and coverage. Is not: a check of either (`session/evidence/`), nor the answer. Above:
`server/markdown.py`. Below: `session/evidence/citations.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rlm_kernel_mcp.session.evidence.citations import Citation, Coverage
from rlm_kernel_mcp.text.markup import code
from rlm_kernel_mcp.text.wording import counted

QUOTED_CHARS: Final = 120
PASSED: Final = {"verified": "verified", "whitespace": "verified but for white space"}
REST: Final = 'rlm_get_trace(detail="full") and `rlm-kernel-mcp trace --annotations` have all'


def evidence(citations: Sequence[Citation], coverage: Coverage, max_chars: int) -> list[str]:
    """Paragraphs: the citations, if there are any, each with its footnote, and the coverage."""
    return [*([_footnotes(citations, max_chars)] if citations else []), _covered(coverage)]


def _footnotes(citations: Sequence[Citation], max_chars: int) -> str:
    notes = list(_within((_footnote(one) for one in citations), max_chars))
    marks = " ".join(f"[^{one.id}]" for one in citations[: len(notes)])
    head = f"{counted(len(citations), 'citation')}, checked against the sources' own bytes: {marks}"
    left = len(citations) - len(notes)
    return "\n".join([f"{head.rstrip()}\n", *notes, *([f"\nAnd {left:,} more; {REST}."] if left else [])])


def _within(notes: Iterator[str], max_chars: int) -> Iterator[str]:
    for note in notes:
        max_chars -= len(note)
        if max_chars < 0:
            return
        yield note


def _footnote(one: Citation) -> str:
    passage = one.passage
    if passage is None:
        return f"[^{one.id}]: {one.status}"
    first, last = passage.start_line, passage.end_line
    place = f"{passage.path or passage.doc}:{first}{'' if first == last else f'-{last}'}"
    text = " ".join(passage.text[:QUOTED_CHARS].split())
    cut = f"… ({counted(passage.text_chars, 'character')})" if passage.text_chars > QUOTED_CHARS else ""
    many = f"; the first of {counted(one.matches, 'place')}" if one.matches is not None and one.matches > 1 else ""
    return f"[^{one.id}]: {code(place)} {PASSED.get(one.status, one.status)}{many}: {code(text)}{cut}"


def _covered(coverage: Coverage) -> str:
    """What is a fact, and what only the kernel says."""
    cited, delivered = coverage.per_cent(coverage.cited), coverage.per_cent(coverage.delivered)
    by_text = coverage.delivered_by_text
    own = "" if by_text is None else f", {by_text:,} of them in lines of the contexts"
    said = (
        f"Coverage: of {counted(coverage.chars, 'character')} the answer cites {coverage.cited:,} ({cited:g} %); the "
        f"steps' output had {counted(coverage.delivered, 'character')} ({delivered:g} %){own}. "
        f"By the kernel's own word {coverage.searched:,} were searched and {coverage.ranked:,} ranked; what steps did "
        "with operations of str is not tracked."
    )
    changed = " A source is another than the one that was loaded; the citations hold in it as it is now."
    return said + changed * coverage.changed
