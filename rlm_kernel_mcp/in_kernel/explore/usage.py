"""Which of the functions a step has called, how much of the texts they have covered, and which places it looked at.

Is: what the kernel counts and sends with a step's reply. Is not: a fact for the host: code in the kernel can forge it.
Above: the modules beside it, `in_kernel/namespace/documents.py`, `in_kernel/ipython/kernel.py`. Below:
`context_wire.py`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, Literal

from rlm_kernel_mcp.context_wire import EXPLORED_MAX, RUNS_MAX, Explored, Run, Used

PARTS_MAX: Final = 4_000
"""Separate parts of one context that are kept; of more, the smallest are dropped."""
SPANS_KEPT: Final = 64
DOCUMENTS_KEPT: Final = 16
"""Places and documents whose texts were taken last: what a step prints it takes shortly before."""

How = Literal["searched", "ranked"]
Part = tuple[int, int]
"""Start and end, in characters of a context."""

_calls: Counter[str] = Counter()
_parts: dict[How, dict[str, list[Part]]] = {"searched": {}, "ranked": {}}
_touched: dict[str, None] = {}
_passes: dict[str, list[list[int]]] = {}
"""By context, what this step has searched, in the order in which it did: start, end, and how often."""
spans: Final[deque[Any]] = deque(maxlen=SPANS_KEPT)
"""The `Span`s whose text this step has taken, the last ones; or a source, start and end. It costs next to nothing."""
opened: Final[deque[tuple[str, str, int]]] = deque(maxlen=DOCUMENTS_KEPT)
"""The same of documents: the context's name, the document's, and how many characters it has."""


def used(name: str) -> None:
    """Count a call of one of the functions."""
    _calls[name] += 1


def went_over(how: How, context: str, start: int, end: int) -> None:
    """Record that a part of a context was covered, in characters."""
    if start >= end:
        return
    _touched[context] = None
    if how == "searched":
        passes = _passes.get(context)
        if passes and passes[-1][1] == start:  # the next document in the same pass
            passes[-1][1] = end
        else:
            _begin_pass(context, start, end)
    parts = _parts[how].setdefault(context, [])
    if parts and parts[-1][0] <= start <= parts[-1][1]:  # the same part again, or the next document
        parts[-1] = parts[-1][0], max(end, parts[-1][1])
        return
    if len(parts) >= 2 * PARTS_MAX:
        _join(parts)
    parts.append((start, end))


def _begin_pass(context: str, start: int, end: int) -> None:
    passes = _passes.setdefault(context, [])
    if len(passes) >= 2 * PARTS_MAX:
        passes[:] = map(list, largest(runs_of(passes), PARTS_MAX))
    passes.append([start, end, 1])


def take() -> Used:
    """The calls since the last time, and of each context covered since then the totals so far, and what was covered."""
    said: Used = {}
    if _calls:
        said["functions"] = dict(_calls)
    if _touched:
        said["explored"] = [
            Explored(context, _total("searched", context), _total("ranked", context))
            for context in list(_touched)[:EXPLORED_MAX]
        ]
    if _passes:
        most = RUNS_MAX // min(len(_passes), EXPLORED_MAX)
        some = list(_passes.items())[:EXPLORED_MAX]
        said["passes"] = {context: largest(runs_of(passes), most) for context, passes in some}
    _calls.clear()
    _touched.clear()
    _passes.clear()
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


def runs_of(passes: Sequence[Sequence[int]]) -> list[Run]:
    """How often each stretch was gone over, in order, without overlaps. Those beside each other differ in that."""
    if len(passes) < 2:
        return [(start, end, times) for start, end, times in passes]
    changes = Counter[int]()
    for start, end, times in passes:
        changes[start] += times
        changes[end] -= times
    found: list[Run] = []
    before = over = 0
    for place, change in sorted(changes.items()):
        if over and change:
            found.append((before, place, over))
        if change:
            before, over = place, over + change
    return found


def largest(runs: list[Run], most: int) -> list[Run]:
    """The largest of too many, in order: too little is said to be searched, and never too much."""
    if len(runs) <= most:
        return runs
    return sorted(sorted(runs, key=lambda run: run[0] - run[1])[:most], key=itemgetter(0))


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
