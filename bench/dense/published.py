"""What others have published of the same benchmarks: their figures, of their runs, with where each stands.

Is: numbers to stand beside a user's own, never in their place. None of them was measured with this project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

TABLE_1 = "arXiv 2512.24601v1, table 1"
MINRLM = "github.com/avilum/minrlm, README of commit 00194be, 50 runs a task"


class Figure(NamedTuple):
    """One score of others, in per cent."""

    system: str
    model: str
    score: float
    usd: float | None
    """A query, on average, as they say it."""
    source: str
    note: str = ""


def _table_1(scores: Sequence[float], usd: Sequence[float], note: str = "") -> tuple[Figure, ...]:
    systems = ("the model alone", "CodeAct with BM25", "summary agent", "RLM", "RLM without sub-calls")
    return tuple(
        Figure(system, "GPT-5 (of an RLM the sub-calls: GPT-5-mini)", score, dollars, TABLE_1, note if at < 2 else "")
        for at, (system, score, dollars) in enumerate(zip(systems, scores, usd, strict=True))
    )


def _minrlm(ours: float, vanilla: float, official: float) -> tuple[Figure, ...]:
    names = ("minRLM", "the model alone", "RLM (rlms)")
    return tuple(
        Figure(name, "gpt-5-mini", score, None, MINRLM)
        for name, score in zip(names, (ours, vanilla, official), strict=True)
    )


PUBLISHED: Mapping[str, tuple[Figure, ...]] = {
    "oolong": (
        *_table_1((44.0, 38.0, 46.0, 56.5, 36.0), (0.14, 0.61, 0.13, 0.43, 0.37)),
        *_minrlm(88, 92, 94),
    ),
    "pairs": _table_1((0.04, 24.67, 0.01, 58.0, 43.93), (0.16, 0.75, 0.13, 0.33, 0.69)),
    "longbench": (
        *_table_1((24.0, 22.0, 58.0, 62.0, 58.0), (0.13, 0.06, 1.31, 0.11, 0.18), "some inputs exceeded the window"),
        *_minrlm(56, 28, 40),
    ),
    "ruler": _minrlm(98, 100, 94),
}
"""By the name that `--real` takes. `longbench`: its code repositories; `ruler`: single needles (S-NIAH)."""
