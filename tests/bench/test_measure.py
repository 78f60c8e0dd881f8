"""What a row of the benchmark says of its two sides."""

from __future__ import annotations

import pytest

from bench.measure import Bar, Figures, Row
from bench.report import cells


def row(ours: float, other: float | None, bar: Bar | None = None) -> Row:
    return Row("a step", Figures((ours,)), "a stock step", None if other is None else Figures((other,)), bar=bar)


@pytest.mark.parametrize(
    ("ours", "bar", "met"), [(1.0, Bar(0.5), True), (1.1, Bar(0.5), False), (1.1, Bar(0.5, "at least"), True)]
)
def test_a_bar_is_for_the_ratio_of_the_medians(ours: float, bar: Bar, met: bool) -> None:
    assert row(ours, 2.0, bar).met is met


def test_what_takes_less_than_a_tick_of_its_clock_has_no_ratio_and_meets_and_misses_nothing() -> None:
    """Two steps of a smoke run may be none of the operating system's hundredths of a second."""
    found = row(0.0, 0.0, Bar(0.5))
    assert (found.ratio, found.met) == (None, None)
    assert cells(found)[4:] == ("", "at most 0.5", "")


def test_a_row_without_another_side_is_held_to_its_own_figure() -> None:
    assert row(3.0, None, Bar(2, of="ours")).met is False
