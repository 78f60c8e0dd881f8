"""A profile's time by part of a program: what is nobody's own, such as the standard library, counts for its callers.

What the profile itself costs, at each call within a function and at the call of it, is measured first and taken off:
else what makes many small calls would look several times as dear as what makes one system call.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Mapping
from dataclasses import dataclass

Function = tuple[str, int, str]
"""File, line and name, as `pstats` has them."""

REST = "what has no caller in the profile"
CALLS = 50_000

Entry = tuple[int, int, float, float, dict[Function, tuple[int, int, float, float]]]
"""Calls, all and those that are no recursion, own seconds, seconds in all, and the same for each caller."""


@dataclass(frozen=True, slots=True)
class Toll:
    """What a profile adds to the seconds of a function, for each call of it and for each call that it makes."""

    called_s: float
    calling_s: float

    @classmethod
    def measured(cls) -> Toll:
        """As it is in this process, of a profile whose clock is the thread's processor time."""
        profile = cProfile.Profile(time.thread_time)
        profile.runcall(_many_calls)
        own = {name: entry[2] for (_, _, name), entry in _table(pstats.Stats(profile)).items()}
        begin = time.thread_time()
        _many_calls()
        real = (time.thread_time() - begin) / 2  # taken for half the callee's and half the caller's
        return cls(max(0.0, own[_nothing.__name__] - real) / CALLS, max(0.0, own[_many_calls.__name__] - real) / CALLS)


def _nothing() -> None:
    return


def _many_calls() -> None:
    for _ in range(CALLS):
        _nothing()


def _table(stats: pstats.Stats) -> dict[Function, Entry]:
    table: dict[Function, Entry] = stats.stats  # type: ignore[attr-defined]  # as its own documentation has it
    return table


def _own_seconds(table: Mapping[Function, Entry], toll: Toll) -> dict[Function, float]:
    """Seconds of each function without what the profile added to them."""
    made = dict.fromkeys(table, 0)
    for entry in table.values():
        for caller, row in entry[4].items():
            if caller in made:
                made[caller] += row[1]
    return {
        function: max(0.0, entry[2] - entry[1] * toll.called_s - made[function] * toll.calling_s)
        for function, entry in table.items()
    }


def seconds_by_part(stats: pstats.Stats, parts: Mapping[str, str], toll: Toll) -> dict[str, float]:
    """Own seconds of each part.

    `parts`: by a piece of a file's path, the part that it belongs to; the first piece that fits counts.
    """
    table = _table(stats)
    known: dict[Function, dict[str, float]] = {}

    def shares(function: Function, within: frozenset[Function]) -> dict[str, float]:
        """Which parts a function's own time belongs to, and how much of it."""
        for piece, part in parts.items():
            if piece in function[0]:
                return {part: 1.0}
        if function in known:
            return known[function]
        callers = {who: row[2] for who, row in table[function][4].items() if who not in within}
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
    for function, own in _own_seconds(table, toll).items():
        for part, share in shares(function, frozenset()).items():
            sums[part] = sums.get(part, 0.0) + own * share
    return sums


def calls(stats: pstats.Stats, name: str, toll: Toll) -> tuple[int, float]:
    """How often whatever has that in its name was called, and its own seconds: a system call's, for example."""
    table = _table(stats)
    own = _own_seconds(table, toll)
    found = [function for function in table if name in function[2]]
    return sum(table[function][1] for function in found), sum(own[function] for function in found)
