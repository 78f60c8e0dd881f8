"""Ranges of characters are put together as a plain count of each character says."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.session.seen.ranges import added, bins_of, clamped, merged, within

SIZE = 60
RANGES = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted).map(tuple), max_size=12)


def characters(ranges: list[tuple[int, int]]) -> set[int]:
    return {place for start, end in ranges for place in range(start, end)}


@given(RANGES)
def test_what_is_put_together_has_the_same_characters(ranges: list[tuple[int, int]]) -> None:
    """In order, with something between any two."""
    found = merged(ranges, 1_000)
    assert characters(found) == characters(ranges)
    assert all(one[1] < then[0] for one, then in pairwise(found))


@given(RANGES, st.integers(1, 5))
def test_of_too_many_those_with_least_between_them_are_one(ranges: list[tuple[int, int]], most: int) -> None:
    """Nothing is left out, and no more is put in than has to be."""
    whole, found = merged(ranges, 1_000), merged(ranges, most)
    assert len(found) == min(len(whole), most)
    assert characters(found) >= characters(whole)
    gaps = sorted(then[0] - one[1] for one, then in pairwise(whole))
    assert len(characters(found) - characters(whole)) == sum(gaps[: len(whole) - len(found)])


@given(RANGES, st.integers(0, SIZE), st.integers(0, SIZE))
def test_a_window_has_what_lies_in_it(ranges: list[tuple[int, int]], start: int, end: int) -> None:
    """And no empty range."""
    found = within(ranges, start, end)
    assert characters(found) == {place for place in characters(ranges) if start <= place < end}
    assert all(low < high for low, high in found)


RUNS = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(0, SIZE), st.integers(1, 9)).filter(lambda run: run[0] < run[1]),
    max_size=8,
)


def times(runs: list[tuple[int, int, int]]) -> Counter[int]:
    return Counter(place for start, end, count in runs for place in range(start, end) for _ in range(count))


@given(RUNS, RUNS)
def test_how_often_each_character_was_gone_over_adds_up(
    one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]
) -> None:
    """Whether the stretches overlap or not."""
    found = added(one, other, 1_000)
    assert times(found) == times(one) + times(other)
    assert all(first[1] <= then[0] for first, then in pairwise(found))


@given(RUNS, st.integers(1, 4))
def test_of_too_many_stretches_never_too_much_is_said(runs: list[tuple[int, int, int]], most: int) -> None:
    """The largest are kept."""
    found = added(runs, (), most)
    assert len(found) <= most
    assert times(found) <= times(runs)


@given(RUNS, st.integers(0, SIZE), st.integers(0, SIZE), st.integers(1, 70))
def test_a_part_of_a_window_says_how_often_it_was_gone_over(
    runs: list[tuple[int, int, int]], start: int, end: int, bins: int
) -> None:
    """On average, rounded; at least once where any of it was, also where a part is less than a character."""
    found = bins_of(runs, start, end, bins)
    assert len(found) == bins
    span = end - start
    if span <= 0:
        assert not any(found)
        return
    for number, value in enumerate(found):
        low, high = number * span, (number + 1) * span  # in units of 1/bins of a character
        over = sum(
            max(0, min(high, (last - start) * bins) - max(low, (first - start) * bins)) * count
            for first, last, count in runs
        )
        assert value == (max(1, (2 * over + span) // (2 * span)) if over else 0)


def test_a_thousand_passes_are_a_byte() -> None:
    """A kernel may claim any number."""
    assert bins_of([(0, 10, 10**9)], 0, 20, 2) == b"\xff\0"
    assert bins_of([], 0, 20, 0) == b""


def test_a_stretch_ends_with_its_text() -> None:
    """What a kernel claims beyond it is nothing."""
    assert clamped([(0, 5, 1), (8, 10**9, 2), (11, 12, 1)], 10) == [(0, 5, 1), (8, 10, 2)]
    assert clamped([(0, 5, 1)], 0) == []
