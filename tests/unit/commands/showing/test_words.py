"""Times, shares and heights as a person at a terminal reads them."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime

import pytest

from rlm_kernel_mcp.commands.showing.words import COARSE, FINE, ago, bar, between_ms, clock, heights, lasted, marks


@pytest.mark.parametrize(
    ("ms", "said"), [(0, "0 ms"), (999, "999 ms"), (3_520, "3.52 s"), (60_000, "1 min 0 s"), (250_400, "4 min 10 s")]
)
def test_a_duration_has_the_unit_that_a_person_would_take(ms: int, said: str) -> None:
    assert lasted(ms) == said


@pytest.mark.parametrize(
    ("iso", "said"),
    [
        ("2026-11-30T10:00:59.000+00:00", "now"),
        ("2026-11-30T09:58:00.000Z", "3 min"),
        ("2026-11-30T07:00:00.000Z", "3 h"),
        ("2026-11-01T10:00:00.000Z", "29 d"),
        ("2026", "2026"),
        ("never", "never"),
    ],
)
def test_a_time_is_told_by_how_long_ago_it_was(iso: str, said: str) -> None:
    """What is no time, or one without a zone, is told as it is."""
    assert ago(iso, datetime(2026, 11, 30, 10, 1, tzinfo=UTC)) == said


@pytest.mark.parametrize(
    ("iso", "later", "ms"),
    [
        ("2026-11-30T10:00:00.000Z", "2026-11-30T10:00:41.250Z", 41_000),
        ("2026-11-30T10:00:00.000Z", "2026-11-30T10:00:00.100Z", 0),
        ("2026", "2026-11-30T10:00:41.250Z", 0),
        ("2026-11-30T10:00:00", "2026-11-30T10:00:41.250Z", 0),
    ],
)
def test_between_two_steps_is_what_is_left_without_the_first_one(iso: str, later: str, ms: int) -> None:
    """Of times that cannot be compared, nothing."""
    assert between_ms(iso, 250, later) == ms


def test_of_a_time_of_the_record_the_clock_is_shown() -> None:
    assert clock("2026-11-30T10:00:59.123Z") == "10:00:59"
    assert clock("2026") == "2026"


@pytest.mark.parametrize(
    ("used", "most", "drawn"),
    [(0, 64, "....."), (1, 64, "#...."), (41, 64, "####."), (64, 64, "#####"), (9, 0, ".....")],
)
def test_a_bar_is_full_at_the_limit_and_begun_with_the_first_use(used: int, most: int, drawn: str) -> None:
    assert bar(used, most, COARSE) == drawn
    assert bar(2 * most, most, COARSE) in ("#####", ".....")


def test_every_step_has_a_column_where_there_is_room_and_else_the_longest_of_some_has_one() -> None:
    assert heights([1, 60_000, 1], 80) == [(0, 0), (1, 7), (2, 0)]
    many = [1] * 1_000
    many[777] = 60_000
    columns = heights(many, 40)
    assert len(columns) == 40
    assert max(columns, key=lambda one: one[1]) == (777, 7)
    assert (heights([], 40), heights([0, 0], 40)) == ([], [(0, 0), (1, 0)])


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", FINE), ("ascii", COARSE), ("latin-1", COARSE)])
def test_marks_are_those_that_the_terminal_can_show(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: object
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert marks() is expected
