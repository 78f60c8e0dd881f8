"""The table of a snapshot's states is what the real classes do: every pair of it, and no other."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.snapshots.run import SnapshotRun
from rlm_kernel_mcp.session.snapshots.states import (
    AWAITS_ANSWER,
    ENDED,
    KERNEL_AT_WORK,
    TAKING,
    Taking,
    TakingEvent,
)
from rlm_kernel_mcp.session.states.machine import ImpossibleEvent
from tests.pictures import pairs, way_to
from tests.unit.session.snapshots.scripted import StandingClock, World

E = TakingEvent
LOOKED_AT_ONCE: Final = frozenset({Taking.ANSWERED, Taking.ANSWERED_SUPERSEDED})
"""From these a turn leads to CHECKING and out of it without a pause: nothing can come in between."""


def taken(way: list[TakingEvent], directory: Path) -> tuple[list[tuple[Taking, TakingEvent]], SnapshotRun]:
    """What a real taker tells its snapshot when the world goes this way."""

    async def go() -> tuple[list[tuple[Taking, TakingEvent]], SnapshotRun]:
        with pytest.MonkeyPatch.context() as patch:
            world = World(directory, patch)
            try:
                run = await world.go(way)
                return world.told[: len(way)], run
            finally:
                await world.end()

    with asyncio.Runner(loop_factory=StandingClock) as runner:
        return runner.run(go())


def expected(way: list[TakingEvent]) -> list[tuple[Taking, TakingEvent]]:
    """The same by the table."""
    state, told = Taking.QUEUED, []
    for event in way:
        told.append((state, event))
        state = TAKING[state][event]
    return told


def possible(way: list[TakingEvent]) -> list[TakingEvent]:
    """The same with what the world has to go through: the long wait for an answer begins with the short one."""
    if not {E.TIMED_OUT, E.CONSOLE_BUSY} & {*way[-1:]} or expected(way)[-1][0] is not Taking.INLINE_SUPERSEDED:
        return way
    return way if E.NO_ANSWER in way else [*way[:-1], E.NO_ANSWER, way[-1]]


@pytest.mark.parametrize(("state", "event"), pairs(TAKING), ids=lambda one: one.name)
def test_the_taker_reaches_every_pair_of_the_table(state: Taking, event: TakingEvent, tmp_path: Path) -> None:
    """And the event leads to the state that the table says."""
    way = possible([*way_to(TAKING, state, avoiding=LOOKED_AT_ONCE - {state}), event])
    told, run = taken(way, tmp_path)
    assert told == expected(way)
    assert told[-1] == (state, event)
    after = TAKING[state][event]
    assert run.has_ended or after not in ENDED


@st.composite
def ways(draw: st.DrawFn) -> list[TakingEvent]:
    """Events that can come one after the other, to an end or not."""
    way: list[TakingEvent] = []
    state, before = Taking.QUEUED, Taking.QUEUED
    while TAKING[state] and len(way) < 14:
        row = set(TAKING[state])
        if before in LOOKED_AT_ONCE and state in (Taking.CHECKING, Taking.CHECKING_SUPERSEDED):
            row -= {E.STEP_CAME, E.CUT_OFF}
        if state is Taking.INLINE_SUPERSEDED:
            row -= {E.NO_ANSWER} if E.NO_ANSWER in way else {E.TIMED_OUT, E.CONSOLE_BUSY}
        event = draw(st.sampled_from(sorted(row, key=lambda one: one.name)))
        way.append(event)
        before, state = state, TAKING[state][event]
    return way


@settings(max_examples=60, deadline=None)
@given(ways())
def test_whatever_comes_in_whatever_order_the_taker_and_the_table_agree(way: list[TakingEvent]) -> None:
    """A kernel that answers, hangs, breaks the rules or ends; a disk that fails; steps that come at any moment."""
    with tempfile.TemporaryDirectory() as directory:
        told, _ = taken(way, Path(directory))
    assert told == expected(way)


IMPOSSIBLE: Final = [(state, event) for state in Taking for event in E if event not in TAKING[state]]


def new_run(state: Taking) -> SnapshotRun:
    inline = cast("Any", SimpleNamespace(add_done_callback=lambda call: None, done=lambda: True, cancel=lambda: None))
    run = SnapshotRun(cast("Kernel", None), 1, 1, inline, 1.0, lambda: None)
    run.state = state
    return run


@pytest.mark.parametrize("state", Taking, ids=lambda state: state.name)
def test_an_event_that_the_table_does_not_have_raises(state: Taking) -> None:
    """By its name and the state's, and the state stays."""
    events = [event for at, event in IMPOSSIBLE if at is state]
    assert events
    for event in events:
        run = new_run(state)
        with pytest.raises(ImpossibleEvent, match=f"{event.name} in state {state.name} of Taking"):
            run.on(event)
        assert run.state is state


def test_the_table_has_a_row_for_every_state_and_every_state_can_be_reached_and_left() -> None:
    """Those that have ended alone have an empty row."""
    assert set(TAKING) == set(Taking)
    assert {TAKING[state][event] for state, event in pairs(TAKING)} | {Taking.QUEUED} == set(Taking)
    assert {event for _, event in pairs(TAKING)} == set(E)
    assert {
        Taking.KEPT,
        Taking.UNCHANGED,
        Taking.SUPERSEDED,
        Taking.GIVEN_UP,
        Taking.HUNG,
        Taking.DISK_FAILED,
    } == ENDED


def test_a_step_waits_for_the_kernel_where_that_is_at_work_and_nowhere_else() -> None:
    """What has come and is only stored holds nobody up."""
    for state in Taking:
        for event, after in TAKING[state].items():
            run = new_run(state)
            run.on(event)
            assert run.kernel_idle.is_set() is (after not in KERNEL_AT_WORK)


def test_an_answer_that_comes_too_late_and_a_step_after_the_end_are_no_events() -> None:
    """A kernel may send its message at any time, and a step comes when it comes."""
    for state in set(Taking) - AWAITS_ANSWER:
        run = new_run(state)
        run.note_answer()
        assert run.state is state
    for state in ENDED:
        run = new_run(state)
        run.supersede()
        run.cut_off()
        assert run.state is state
