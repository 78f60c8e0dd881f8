"""What a final answer rests on, as the live page gets it.

Is: the citations and the coverage of a row's `extra`, within a bound. Is not: the check, which was made when the answer
was given (`session/evidence/`). Above: `shaping.py`. Below: `session/evidence/citations.py`.
"""

from __future__ import annotations

from typing import Any, Final

from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.watching.messages.events import Coverage

CITATIONS_MAX: Final = 500
CITATIONS_CHARS: Final = 400_000
"""Of the citations of an answer as JSON; beyond it they come without their texts."""


def cited(evidence: object) -> dict[str, Any]:
    """`citations`, `more_citations` and `coverage` of an event; nothing where the record has none."""
    if not isinstance(evidence, dict):
        return {}
    try:
        checked = Checked.of_record(evidence)
    except (TypeError, KeyError, ValueError, AttributeError):  # another version wrote it
        return {}
    rows = Checked(checked.citations[:CITATIONS_MAX], checked.coverage).rows(CITATIONS_CHARS)["citations"]
    found = checked.coverage
    coverage: Coverage = {
        "chars": found.chars,
        "searched": found.searched,
        "ranked": found.ranked,
        "delivered": found.delivered,
        "delivered_by_text": found.delivered_by_text,
        "cited": found.cited,
        "changed": found.changed,
    }
    more = max(len(checked.citations) - CITATIONS_MAX, 0)
    return {"citations": rows, "more_citations": more, "coverage": coverage}
