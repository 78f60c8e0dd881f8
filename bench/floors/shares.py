"""A profile's time by part of a program: what is nobody's own, such as the standard library, counts for its callers."""

from __future__ import annotations

import pstats
from collections.abc import Mapping

Function = tuple[str, int, str]
"""File, line and name, as `pstats` has them."""

REST = "what has no caller in the profile"


def seconds_by_part(stats: pstats.Stats, parts: Mapping[str, str]) -> dict[str, float]:
    """Own seconds of each part.

    `parts`: by a piece of a file's path, the part that it belongs to; the first piece that fits counts.
    """
    table: dict[Function, tuple[int, int, float, float, dict[Function, tuple[int, int, float, float]]]]
    table = stats.stats  # type: ignore[attr-defined]  # as its own documentation has it
    known: dict[Function, dict[str, float]] = {}

    def shares(function: Function, within: frozenset[Function]) -> dict[str, float]:
        """Which parts a function's own time belongs to, and how much of it."""
        for piece, part in parts.items():
            if piece in function[0]:
                return {part: 1.0}
        if function in known:
            return known[function]
        callers = {who: seconds[2] for who, seconds in table[function][4].items() if who not in within}
        whole = sum(callers.values())
        found: dict[str, float] = {}
        for who, seconds in callers.items():
            weight = seconds / whole if whole else 1 / len(callers)
            for part, share in (shares(who, within | {function}) if who in table else {REST: 1.0}).items():
                found[part] = found.get(part, 0.0) + share * weight
        if not within:
            known[function] = found
        return found or {REST: 1.0}

    sums: dict[str, float] = {}
    for function, (_, _, own, _, _) in table.items():
        for part, share in shares(function, frozenset()).items():
            sums[part] = sums.get(part, 0.0) + own * share
    return sums


def calls(stats: pstats.Stats, name: str) -> tuple[int, float]:
    """How often whatever has that in its name was called, and its own seconds: a system call's, for example."""
    table: dict[Function, tuple[int, int, float, float, object]] = stats.stats  # type: ignore[attr-defined]
    found = [(row[1], row[2]) for function, row in table.items() if name in function[2]]
    return sum(count for count, _ in found), sum(seconds for _, seconds in found)
