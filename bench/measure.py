"""How things are measured: both sides in turn, the median, and whether a bar is met.

Is: repetition, statistics, and the rows of the table. Is not: what is measured (`bars/`), nor its look (`report.py`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Sample = Callable[[], Awaitable[float]]
"""One measurement, with its own set-up and clean-up around what it times."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit for the ratio ours/other, or for our own figure in the row's unit."""

    limit: float
    sense: Literal["at most", "at least"] = "at most"
    of: Literal["ratio", "ours"] = "ratio"


@dataclass(frozen=True, slots=True)
class Figures:
    """One side of a row: every sample in the row's unit."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """10th and 90th percentile."""
        ordered = sorted(self.samples)
        return ordered[len(ordered) // 10], ordered[(len(ordered) * 9) // 10]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    ours: Figures
    against: str = ""
    other: Figures | None = None
    unit: str = "ms"
    bar: Bar | None = None
    why_missed: str = ""
    """What is known about a miss; shown only if the bar is missed."""

    @property
    def ratio(self) -> float | None:
        """None also where the other side took less than its clock shows, such as a tick of processor time."""
        return self.ours.median / self.other.median if self.other is not None and self.other.median else None

    @property
    def met(self) -> bool | None:
        """None without a bar, or without the figure that it is about."""
        if self.bar is None:
            return None
        value = self.ours.median if self.bar.of == "ours" else self.ratio
        if value is None:
            return None
        return value <= self.bar.limit if self.bar.sense == "at most" else value >= self.bar.limit


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is measured: `--smoke` only checks that each part works."""

    smoke: bool

    def times(self, count: int) -> int:
        """Repetitions."""
        return 1 if self.smoke else count

    def megabytes(self, size: int) -> int:
        """Size of an input."""
        return 1 if self.smoke else size


async def interleave(sides: Sequence[Sample], times: int, warm_up: int = 0) -> list[Figures]:
    """Measure every side in turn, `times` over; the order is reversed each time, so that none always comes second.

    The figures are in the samples' own unit, in the order of `sides`.
    """
    samples: list[list[float]] = [[] for _ in sides]
    for turn in range(warm_up + times):
        order = range(len(sides)) if turn % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            value = await sides[side]()
            if turn >= warm_up:
                samples[side].append(value)
    return [Figures(tuple(found)) for found in samples]


async def milliseconds(action: Callable[[], Awaitable[object]]) -> float:
    """How long an action takes."""
    begin = time.perf_counter()
    await action()
    return (time.perf_counter() - begin) * 1000
