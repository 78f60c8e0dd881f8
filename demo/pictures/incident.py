"""A small session of which pictures are made: which customers met an error too often, by a log of 40,000 lines.

Is: the log, which is the same each time, and what an agent runs. Is not: a picture (`makers.py`).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

LINES: Final = 40_000
CUSTOMERS: Final = ("acme", "borealis", "cobalt", "dunes", "ember", "fjord", "garnet", "harbor")
QUESTION: Final = "Which customers met error E42 more than twice within an hour, and when?"
LOOK: Final = "seen = look()\nprint(f'{seen.lines:,} lines, {seen.chars:,} characters')\nseen.head.splitlines()[0]"
SEARCH: Final = """hits = search(r'^(\\S+ \\d\\d):.* E42 customer=(\\w+)', regex=True, limit=None)
print(len(hits), 'places;', hits[0].line)"""
COUNT: Final = """from collections import Counter

by_hour = Counter(hit.groups for hit in hits)
often = {key: n for key, n in by_hour.items() if n > 2}
often"""
DRAW: Final = """class Bars:
    def __init__(self, counts):
        self.counts = counts
    def __repr__(self):
        return f'bars for {len(self.counts)} hours'
    def _repr_svg_(self):
        bars = ''.join(
            f'<rect x="{24 * n}" y="{100 - 12 * count}" width="18" height="{12 * count}" fill="#1f5fbf"/>'
            f'<text x="{24 * n + 9}" y="114" font-size="10" text-anchor="middle">{hour[-2:]}</text>'
            for n, (hour, count) in enumerate(sorted(self.counts.items()))
        )
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="{24 * len(self.counts)}" height="120">{bars}</svg>'

hours = Counter(hour for hour, customer in by_hour.elements())
Bars(hours)"""
ANSWER: Final = """where = {hit.groups: hit for hit in hits}
said = [f'{who}: {n} times from {hour}:00 {cite(where[hour, who])}' for (hour, who), n in often.items()]
answer = '\\n'.join(said)
print(answer)"""
STEPS: Final = (LOOK, SEARCH, COUNT, DRAW, ANSWER)


def write_log(directory: Path) -> None:
    """Write `api.log` there."""
    chance = random.Random(42)  # noqa: S311 (the same log each time)
    with (directory / "api.log").open("w", encoding="ascii") as log:
        for number in range(LINES):
            hour, minute, second = number * 24 // LINES, chance.randrange(60), chance.randrange(60)
            customer = CUSTOMERS[min(int(chance.expovariate(0.6)), len(CUSTOMERS) - 1)]
            bad = chance.random() < 0.0016
            what = f"WARN timeout E42 customer={customer}" if bad else f"INFO served customer={customer}"
            log.write(f"2026-11-28 {hour:02}:{minute:02}:{second:02} {what} in {chance.randrange(2, 900)} ms\n")
