"""Ranges of characters: put together, bounded in number, and as bins of a window.

Is: pure functions over whole numbers. Is not: where they come from. Sans-I/O. Above: the modules beside it. Below: the
standard library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from rlm_kernel_mcp.context_wire import Run

Range = tuple[int, int]
"""Start and end, in characters; the end is not included."""
BYTE_MAX: Final = 255


def merged(ranges: Iterable[Range], most: int) -> list[Range]:
    """The same in order, those joined that touch or overlap. Of more than `most`, those with least between them too."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        elif start < end:
            found.append((start, end))
    if len(found) <= most:
        return found
    gaps = sorted(range(1, len(found)), key=lambda at: found[at][0] - found[at - 1][1])
    joined = set(gaps[: len(found) - most])
    fewer: list[Range] = []
    for at, (start, end) in enumerate(found):
        if at in joined:
            fewer[-1] = fewer[-1][0], end
        else:
            fewer.append((start, end))
    return fewer


def within(ranges: Iterable[Range], start: int, end: int) -> list[Range]:
    """The parts of them that lie in a window."""
    cut = ((max(low, start), min(high, end)) for low, high in ranges)
    return [(low, high) for low, high in cut if low < high]


def clamped(runs: Iterable[Run], chars: int) -> list[Run]:
    """Those of a text of so many characters."""
    return [(start, min(end, chars), times) for start, end, times in runs if start < chars]


def added(runs: Iterable[Run], more: Iterable[Run], most: int) -> list[Run]:
    """How often each stretch was gone over by both, in order. Of more than `most` the largest: never too much."""
    changes = Counter[int]()
    for both in (runs, more):
        for start, end, times in both:
            changes[start] += times
            changes[end] -= times
    found: list[Run] = []
    before = over = 0
    for place, change in sorted(changes.items()):
        if change:
            if over:
                found.append((before, place, over))
            before, over = place, over + change
    if len(found) > most:
        found = sorted(sorted(found, key=lambda run: run[0] - run[1])[:most])
    return found


def bins_of(runs: Sequence[Run], start: int, end: int, bins: int) -> bytes:
    """A byte for each of so many equal parts of a window: how often it was gone over on average.

    At least 1 where any of it was, and at most 255.
    """
    span = end - start
    if span <= 0 or bins <= 0:
        return bytes(max(bins, 0))
    # Whole numbers, in units of 1/bins of a character: so no part gets anything of the next one by rounding.
    partly, steps = [0] * (bins + 1), [0] * (bins + 1)
    for first, last, times in runs:
        low, high = (max(first, start) - start) * bins, (min(last, end) - start) * bins
        if low >= high:
            continue
        one, other = low // span, high // span
        if one == other:
            partly[one] += (high - low) * times
        else:
            partly[one] += ((one + 1) * span - low) * times
            partly[other] += (high - other * span) * times
            steps[one + 1] += times
            steps[other] -= times
    sums = (whole * span + part for whole, part in zip(accumulate(steps), partly, strict=True))
    return bytes(min(BYTE_MAX, max(1, (2 * over + span) // (2 * span))) if over else 0 for over in sums)[:bins]
