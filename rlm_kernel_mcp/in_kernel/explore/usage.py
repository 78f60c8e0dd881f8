"""Which of the functions a step has called, and how much of the texts they have covered.

Is: what the kernel counts and sends with a step's reply. Is not: a fact for the host: code in the kernel can forge it.
Above: the modules beside it, `in_kernel/ipython/kernel.py`. Below: `context_wire.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

from rlm_kernel_mcp.context_wire import EXPLORED_MAX, Explored, Used

PARTS_MAX: Final = 4_000
"""Separate parts of one context that are kept; of more, the smallest are dropped."""

How = Literal["searched", "ranked"]
Part = tuple[int, int]
"""Start and end, in characters of a context."""

_calls: Counter[str] = Counter()
_parts: dict[How, dict[str, list[Part]]] = {"searched": {}, "ranked": {}}
_touched: dict[str, None] = {}


def used(name: str) -> None:
    """Count a call of one of the functions."""
    _calls[name] += 1


def went_over(how: How, context: str, start: int, end: int) -> None:
    """Record that a part of a context was covered, in characters."""
    if start >= end:
        return
    _touched[context] = None
    parts = _parts[how].setdefault(context, [])
    if parts and parts[-1][0] <= start <= parts[-1][1]:  # the same part again, or the next document
        parts[-1] = parts[-1][0], max(end, parts[-1][1])
        return
    if len(parts) >= 2 * PARTS_MAX:
        _join(parts)
    parts.append((start, end))


def take() -> Used:
    """The calls since the last time, and the totals so far for each context covered since then."""
    said: Used = {}
    if _calls:
        said["functions"] = dict(_calls)
    if _touched:
        said["explored"] = [
            Explored(context, _total("searched", context), _total("ranked", context))
            for context in list(_touched)[:EXPLORED_MAX]
        ]
    _calls.clear()
    _touched.clear()
    return said


def joined(parts: Iterable[Part]) -> list[Part]:
    """The same parts in order, with those merged that touch or overlap."""
    found: list[Part] = []
    for start, end in sorted(parts):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def _total(how: How, context: str) -> int:
    parts = _parts[how].get(context, [])
    _join(parts)
    return sum(end - start for start, end in parts)


def _join(parts: list[Part]) -> None:
    """Merge, and keep only the largest of too many, so that the total may be too low but never too high."""
    kept = joined(parts)
    if len(kept) > PARTS_MAX:
        kept = sorted(sorted(kept, key=lambda part: part[0] - part[1])[:PARTS_MAX])
    parts[:] = kept
