"""What a step's report says of the exploring functions, checked: their use, and the claims that the step has made.

Is: type, size and count of each field. Is not: whether any of it is true: a claim is checked against the source's own
bytes when an answer names it, a place that was shown when it is looked at there, and the rest is passed on as the
kernel's statement. Above: `reply.py`. Below: `fields.py`, `context_wire.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from rlm_kernel_mcp.context_wire import (
    CITED_CHARS_MAX,
    CLAIM_NUMBER_MAX,
    CLAIM_TEXT_CHARS,
    CLAIMS_STEP_MAX,
    EXPLORED_MAX,
    EXPLORING,
    RUNS_MAX,
    SHOWN_MAX,
    Claim,
    Explored,
    Run,
    Shown,
)
from rlm_kernel_mcp.kernel.untrusted.fields import NAME_CHARS_MAX, count_of

DOCUMENT_CHARS_MAX: Final = 4_096
PASSES_MAX: Final = 255
"""How often a stretch counts as gone over; a claim of more is one of so many."""
_SHA256: Final = re.compile(r"(?:[0-9a-f]{64})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Use:
    """What one step did with the functions."""

    functions: Mapping[str, int] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    explored: tuple[Explored, ...] = ()
    passes: Mapping[str, tuple[Run, ...]] = field(default_factory=dict)
    shown: tuple[Shown, ...] = ()


NOTHING: Final = Use()


def use_of(value: object) -> Use:
    """What a report says; what is not as it has to be is left out."""
    if not isinstance(value, dict):
        return NOTHING
    calls = value.get("functions")
    counts = calls if isinstance(calls, dict) else {}
    functions = {name: count for name in EXPLORING if (count := count_of(counts.get(name)))}
    claims = map(claim_of, _rows(value.get("claims"), CLAIMS_STEP_MAX))
    explored = map(explored_of, _rows(value.get("explored"), EXPLORED_MAX))
    shown = map(shown_of, _rows(value.get("shown"), SHOWN_MAX))
    kept = tuple(filter(None, claims)), tuple(filter(None, explored))
    return Use(functions, *kept, passes_of(value.get("passes")), tuple(filter(None, shown)))


def claim_of(row: object) -> Claim | None:
    """One claim; None where a kernel sent something else."""
    if not isinstance(row, list) or len(row) != len(Claim._fields):
        return None
    number, start, end = (count_of(row[place]) for place in (0, 3, 4))
    if number is None or start is None or end is None or not all(isinstance(row[place], str) for place in (1, 2, 5, 6)):
        return None
    claim = Claim(number, row[1], row[2], start, end, row[5], row[6][:CLAIM_TEXT_CHARS])
    in_range = 1 <= number <= CLAIM_NUMBER_MAX and start < end <= start + CITED_CHARS_MAX
    named = len(claim.context) <= NAME_CHARS_MAX and len(claim.document) <= DOCUMENT_CHARS_MAX
    return claim if in_range and named and _SHA256.fullmatch(claim.sha256) is not None else None


def explored_of(row: object) -> Explored | None:
    """What was gone over of one context; None where a kernel sent something else."""
    if not isinstance(row, list) or len(row) != len(Explored._fields):
        return None
    context, searched, ranked = row[0], count_of(row[1]), count_of(row[2])
    if not isinstance(context, str) or len(context) > NAME_CHARS_MAX or searched is None or ranked is None:
        return None
    return Explored(context, searched, ranked)


def passes_of(value: object) -> dict[str, tuple[Run, ...]]:
    """What was gone over and how often, by context, in order, as far as a kernel sent what it should."""
    found: dict[str, tuple[Run, ...]] = {}
    left = RUNS_MAX
    for context, rows in islice(value.items(), EXPLORED_MAX) if isinstance(value, dict) else ():
        runs: list[Run] = []
        for row in _rows(rows, left):
            run = _run_of(row, runs[-1][1] if runs else 0)
            if run is None:
                break
            runs.append(run)
        if runs and isinstance(context, str) and len(context) <= NAME_CHARS_MAX:
            found[context] = tuple(runs)
            left -= len(runs)
    return found


def _run_of(row: object, reached: int) -> Run | None:
    """One stretch, which begins where the one before ended or behind that."""
    if not isinstance(row, list) or len(row) != 3:
        return None
    start, end, times = map(count_of, row)
    if start is None or end is None or not times or not reached <= start < end:
        return None
    return start, end, min(times, PASSES_MAX)


def shown_of(row: object) -> Shown | None:
    """One place that was looked at; None where a kernel sent something else."""
    if not isinstance(row, list) or len(row) != 4:
        return None
    (context, document), (start, end) = row[:2], map(count_of, row[2:])
    if not isinstance(context, str) or not isinstance(document, str) or start is None or end is None:
        return None
    named = len(context) <= NAME_CHARS_MAX and len(document) <= DOCUMENT_CHARS_MAX
    return (context, document, start, end) if named and start < end <= start + CITED_CHARS_MAX else None


def _rows(value: object, most: int) -> list[Any]:
    return value[:most] if isinstance(value, list) else []
