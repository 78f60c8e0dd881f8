"""Numbers and times as a person at a terminal reads them, and the marks that its encoding has.

Is: pure functions. Is not: a line (`steps.py`, `heading.py`). Above: those. Below: the standard library.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

ELSEWHERE: Final = (
    "rlm-kernel-mcp: RLM_CLUSTER is set: this looks at the sessions of this machine, and not at the cluster's. An "
    "agent reads those by its tools, a program by Session(session_id=...).\n"
)
"""What a command says first whose user has their sessions in a cluster."""

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
BAR_CELLS: Final = 5


@dataclass(frozen=True, slots=True)
class Marks:
    """What stands before and between words. No output can do without the mark before it."""

    rule: str
    printed: str
    stderr: str
    result: str
    event: str
    dot: str
    full: str
    empty: str
    levels: str
    """From the lowest to the highest."""


FINE: Final = Marks("─", "│ ", "! ", "→ ", "▌ ", " · ", "▇", "▁", "▁▂▃▄▅▆▇█")
COARSE: Final = Marks("-", "| ", "! ", "=> ", "# ", " - ", "#", ".", "._-=+*%#")


def marks() -> Marks:
    """Those that the terminal's encoding has."""
    try:
        "".join((*FINE.levels, FINE.rule, FINE.printed, FINE.result, FINE.event)).encode(sys.stdout.encoding)
    except (UnicodeEncodeError, LookupError):
        return COARSE
    return FINE


def lasted(ms: int) -> str:
    """`3 ms`, `3.52 s`, `4 min 10 s`."""
    if ms < 1_000:
        return f"{ms} ms"
    if ms < MINUTE_S * 1_000:
        return f"{ms / 1_000:.2f} s"
    return f"{ms // 60_000:,} min {ms % 60_000 // 1_000} s"


def ago(iso: str, now: datetime) -> str:
    """How long ago that was; the text itself where it is no time."""
    try:
        seconds = (now - datetime.fromisoformat(iso)).total_seconds()
    except (ValueError, TypeError):
        return iso
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds // unit_s:,.0f} {unit}"
    return "now"


def between_ms(iso: str, ms: int, later_iso: str) -> int:
    """From the end of what began at a time and took so long until another time; 0 where one of them is no time."""
    try:
        found = datetime.fromisoformat(later_iso) - datetime.fromisoformat(iso)
    except (ValueError, TypeError):
        return 0
    return max(round(found.total_seconds() * 1_000) - ms, 0)


def clock(iso: str) -> str:
    """The time of day in a time of the record."""
    return iso[11:19] if len(iso) > len("2026-11-30T10:00") else iso


def bar(used: int, most: int, drawn: Marks) -> str:
    """How much of a limit is used; as soon as anything is, the first cell is full."""
    full = min(BAR_CELLS, math.ceil(BAR_CELLS * used / most)) if most > 0 else 0
    return drawn.full * full + drawn.empty * (BAR_CELLS - full)


def heights(values: Sequence[int], width: int) -> list[tuple[int, int]]:
    """At most `width` columns for that many values: the place of each column's largest one, and a height from 0 to 7.

    By the logarithm: a step of 3 ms and one of a minute stand in one row.
    """
    if not values:
        return []
    columns = min(len(values), max(width, 1))
    top = math.log1p(max(*values, 1))
    found = []
    for column in range(columns):
        part = range(column * len(values) // columns, (column + 1) * len(values) // columns)
        largest = max(part, key=values.__getitem__)
        found.append((largest, round(7 * math.log1p(max(values[largest], 0)) / top)))
    return found
