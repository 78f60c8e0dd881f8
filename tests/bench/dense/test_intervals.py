"""A mean comes with an interval, and with the name of the method."""

from __future__ import annotations

import pytest

from bench.dense.intervals import estimate, wilson


def test_wilson_s_interval_is_that_of_the_textbooks() -> None:
    """8 of 10: 0.4902 to 0.9433 (Newcombe 1998, method 3, gives such values)."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_no_error_seen_is_no_certainty() -> None:
    found = estimate([1.0] * 20)
    assert found.method == "Wilson"
    assert found.high == 1.0
    assert found.low == pytest.approx(0.8389, abs=1e-4)


def test_tasks_that_are_partly_right_are_resampled_and_the_same_ones_give_the_same() -> None:
    scores = [1.0, 0.5, 0.75, 0.0, 1.0, 0.25]
    found = estimate(scores)
    assert found.method == "bootstrap"
    assert found == estimate(scores)
    assert found.low is not None
    assert found.high is not None
    assert found.mean is not None
    assert 0 <= found.low < found.mean < found.high <= 1


@pytest.mark.parametrize("scores", [[], [0.5]])
def test_too_few_tasks_have_no_interval(scores: list[float]) -> None:
    found = estimate(scores)
    assert (found.low, found.high, found.tasks) == (None, None, len(scores))
