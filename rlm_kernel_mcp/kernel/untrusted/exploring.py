"""What a step's report says of the exploring functions, checked: their use, and the claims that the step has made.

Is: type, size and count of each field. Is not: whether any of it is true: a claim is checked against the source's own
bytes when an answer names it, and the rest is passed on as the kernel's statement. Above: `reply.py`. Below:
`fields.py`, `context_wire.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rlm_kernel_mcp.context_wire import (
    CITED_CHARS_MAX,
    CLAIM_NUMBER_MAX,
    CLAIM_TEXT_CHARS,
    CLAIMS_STEP_MAX,
    EXPLORED_MAX,
    EXPLORING,
    Claim,
    Explored,
)
from rlm_kernel_mcp.kernel.untrusted.fields import NAME_CHARS_MAX, count_of

DOCUMENT_CHARS_MAX: Final = 4_096
_SHA256: Final = re.compile(r"(?:[0-9a-f]{64})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Use:
    """What one step did with the functions."""

    functions: Mapping[str, int] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    explored: tuple[Explored, ...] = ()


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
    return Use(functions, tuple(filter(None, claims)), tuple(filter(None, explored)))


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


def _rows(value: object, most: int) -> list[Any]:
    return value[:most] if isinstance(value, list) else []
