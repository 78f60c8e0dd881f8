"""A step is charged for the time outside of its pauses, and for what its kernel worked in them."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.session.steps.clock import StepClock

SPANS: Final = st.integers(0, 10**12)
"""Nanoseconds."""
PHASES: Final = st.lists(st.tuples(SPANS, SPANS, SPANS), max_size=8)
"""Of each: how long the step runs, how long it is then paused, and the processor time that its kernel uses in it."""


@given(st.integers(), SPANS, SPANS)
def test_a_clock_that_is_never_paused_is_a_fixed_deadline(start: int, limit: int, after: int) -> None:
    clock = StepClock(start, limit)
    assert clock.elapsed_ns(start + after) == after
    assert clock.deadline_ns(start + after) == start + limit


@given(PHASES, SPANS, SPANS)
def test_charged_is_the_time_outside_of_the_pauses_and_the_work_in_them(
    phases: list[tuple[int, int, int]], limit: int, rest: int
) -> None:
    """And the deadline is where the charge reaches the limit, if no pause comes any more."""
    now = 0
    clock = StepClock(now, limit)
    for runs, waits, used in phases:
        now += runs
        clock.pause(now)
        assert clock.is_paused
        charged = clock.elapsed_ns(now)
        assert clock.elapsed_ns(now + waits) == charged
        assert clock.deadline_ns(now + waits) - (now + waits) == clock.deadline_ns(now) - now
        now += waits
        clock.resume(now, used)
    now += rest
    assert not clock.is_paused
    assert clock.elapsed_ns(now) == rest + sum(runs + used for runs, _, used in phases)
    assert clock.elapsed_ns(max(clock.deadline_ns(now), now)) == max(limit, clock.elapsed_ns(now))


@given(PHASES)
def test_what_is_charged_never_falls(phases: list[tuple[int, int, int]]) -> None:
    now = 0
    clock = StepClock(now, 0)
    seen = [0]
    for runs, waits, used in phases:
        now += runs
        clock.pause(now)
        seen.append(clock.elapsed_ns(now))
        now += waits
        clock.resume(now, -used)  # a kernel that is gone has used less than was seen of it
        seen.append(clock.elapsed_ns(now))
    assert seen == list(accumulate(seen, max))


@given(SPANS, SPANS, SPANS)
def test_two_pauses_of_one_wait_are_one(runs: int, waits: int, used: int) -> None:
    """So are two ends: the second charges nothing again."""
    clock = StepClock(0, 0)
    clock.pause(runs)
    clock.pause(runs + waits)
    clock.resume(runs + waits, used)
    clock.resume(runs + waits, used)
    assert clock.elapsed_ns(runs + waits) == runs + used


@given(SPANS, SPANS, SPANS, SPANS, SPANS)
def test_what_is_forgiven_is_not_charged_and_moves_no_deadline(
    limit: int, before: int, forgiven: int, waits: int, after: int
) -> None:
    """A step that another's cell keeps from beginning ends at its deadline all the same."""
    clock = StepClock(0, limit)
    clock.forgive(forgiven)
    assert clock.elapsed_ns(before) == max(0, before - forgiven)
    assert clock.deadline_ns(before) == limit
    clock.pause(before)
    assert clock.elapsed_ns(before + waits) == max(0, before - forgiven)
    clock.resume(before + waits)
    assert clock.elapsed_ns(before + waits + after) == max(0, before + after - forgiven)
