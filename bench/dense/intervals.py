"""How sure a mean of scores is: 95 % intervals.

Is: Wilson's interval where each task is right or wrong, and the percentile bootstrap (10,000 seeded resamples of the
tasks) where some are partly right. Both take the tasks for independent; questions about one text are less than that,
which is why a report says how many texts there were. Is not: what is reported (`report.py`).
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

Z95 = statistics.NormalDist().inv_cdf(0.975)
RESAMPLES = 10_000


class Estimate(NamedTuple):
    """A mean, and where it may lie; None: nothing is known of that."""

    mean: float | None
    low: float | None
    high: float | None
    tasks: int
    method: str


def estimate(scores: Sequence[float]) -> Estimate:
    """Of scores from 0 to 1."""
    if not scores:
        return Estimate(None, None, None, 0, "")
    mean = statistics.fmean(scores)
    if all(score in (0.0, 1.0) for score in scores):
        return Estimate(mean, *wilson(round(sum(scores)), len(scores)), len(scores), "Wilson")
    if len(scores) == 1:
        return Estimate(mean, None, None, 1, "")
    return Estimate(mean, *bootstrap(scores), len(scores), "bootstrap")


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson's score interval of a share."""
    share, z2 = right / count, Z95 * Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(scores: Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of the means of resamples; the same scores give the same interval."""
    rng, count = random.Random(0), len(scores)
    means = sorted(statistics.fmean(rng.choices(scores, k=count)) for _ in range(RESAMPLES))
    return means[round(0.025 * RESAMPLES)], means[round(0.975 * RESAMPLES) - 1]
