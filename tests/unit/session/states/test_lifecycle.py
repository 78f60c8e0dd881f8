"""A session moves by its tables: real ones reach every pair of them, and are called what a client always read."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.states.lifecycle import (
    KERNEL,
    LIFE,
    LIMIT,
    STEP,
    Event,
    HasKernel,
    Life,
    Limit,
    SessionStates,
    Step,
)
from rlm_kernel_mcp.session.states.machine import ImpossibleEvent
from tests.fake_kernel import FakeKernel, Fakes
from tests.pictures import pairs
from tests.sessions import AMPLE, WAIT_S, SessionDriver, until

pytestmark = pytest.mark.anyio
TABLES: Final[tuple[Any, ...]] = (LIFE, STEP, LIMIT, KERNEL)
ALL: Final[set[tuple[Any, Event]]] = {pair for table in TABLES for pair in pairs(table)}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> set[tuple[Any, Event]]:
    """The pairs of a state and an event that sessions have gone through."""
    found: set[tuple[Any, Event]] = set()
    on = SessionStates.on

    def telling(states: SessionStates, event: Event) -> None:
        before = (states.life, states.step, states.limit, states.kernel)
        on(states, event)
        found.update((state, event) for state in before if (state, event) in ALL)

    monkeypatch.setattr(SessionStates, "on", telling)
    return found


def word(session: Session) -> str:
    return session.status


def refuse(_: object) -> None:
    raise KernelStartFailed("there is none")


async def cut_off(session: SessionDriver, fakes: Fakes) -> None:
    """A read that is cancelled while its session gets a kernel."""
    begun = asyncio.Event()
    start = fakes.starter.start

    async def never() -> Any:
        begun.set()
        await asyncio.Event().wait()

    fakes.starter.start = never  # type: ignore[method-assign]
    reading = asyncio.create_task(session.session.get_var("x", 0, 10))
    async with asyncio.timeout(WAIT_S):
        await begun.wait()
        reading.cancel()
        await asyncio.wait({reading})
    fakes.starter.start = start  # type: ignore[method-assign]


async def lose(session: SessionDriver, kernel: FakeKernel) -> None:
    client = session.kernel.client
    kernel.process.end(3)
    await until(lambda: client.broken is not None)


async def test_real_sessions_reach_every_pair_of_the_tables(fakes: Fakes, told: set[tuple[Any, Event]]) -> None:
    """Steps, limits, kernels that are lost, refused and had, an answer, the end of the server."""
    session, kernel = await fakes.open()
    await session.ok("x = 1")
    assert word(session.session) == "idle"
    await lose(session, kernel)
    assert await session.value("x") == 1
    await lose(session, fakes.kernels[-1])
    await cut_off(session, fakes)
    assert word(session.session) == "idle"
    fakes.starter.prepare = refuse
    for _ in range(2):
        with pytest.raises(KernelStartFailed):
            await session.value("x")
        assert word(session.session) == "dead"
    await cut_off(session, fakes)
    assert word(session.session) == "dead"
    fakes.starter.prepare = lambda _: None
    assert await session.value("x") == 1
    assert word(session.session) == "idle"
    await answered_then_closed(fakes)
    await closed_then_answered(session)
    assert told == ALL


async def answered_then_closed(fakes: Fakes) -> None:
    opened = await fakes.registry.init_context(
        context_text="text", context_paths=None, limits=replace(AMPLE, max_steps=1)
    )
    session = SessionDriver(fakes.registry, opened.session_id)
    its = session.session
    await session.ok("1")
    assert word(its) == "stopped"
    await session.finalize(text="done")
    assert word(its) == "finalized"
    await its.close("the server ended")
    assert word(its) == "finalized"


async def closed_then_answered(session: SessionDriver) -> None:
    its = session.session
    await its.close("the server ended")
    await its.close("the server ended")
    assert word(its) == "idle"
    assert (await session.run("1")).status == "kernel_died"
    await session.finalize(text="done")
    assert word(its) == "finalized"


@pytest.mark.parametrize("event", Event, ids=lambda event: event.name)
def test_an_event_that_one_table_does_not_have_raises_and_moves_none(event: Event) -> None:
    """In each joint state: impossible exactly where one of those that see it has it not in its row."""
    seen_by = [table for table in TABLES if any(event in row for row in table.values())]
    assert seen_by
    impossible = 0
    for life in Life:
        for step in Step:
            for limit in Limit:
                for kernel in HasKernel:
                    states, joint = SessionStates(), (life, step, limit, kernel)
                    states.life, states.step, states.limit, states.kernel = joint
                    rows = [table[state] for table, state in zip(TABLES, joint, strict=True) if table in seen_by]
                    if all(event in row for row in rows):
                        states.on(event)
                        continue
                    impossible += 1
                    with pytest.raises(ImpossibleEvent, match=event.name):
                        states.on(event)
                    assert (states.life, states.step, states.limit, states.kernel) == joint
    assert impossible or event is Event.SERVER_ENDS


@pytest.mark.parametrize(
    ("called", "joint"),
    [
        ("idle", (Life.OPEN, Step.IDLE, Limit.WITHIN, HasKernel.PRESENT)),
        ("idle", (Life.OPEN, Step.IDLE, Limit.WITHIN, HasKernel.COMING)),
        ("idle", (Life.CLOSED, Step.IDLE, Limit.WITHIN, HasKernel.ABSENT)),
        ("stopped", (Life.OPEN, Step.IDLE, Limit.REACHED, HasKernel.ABSENT)),
        ("dead", (Life.OPEN, Step.IDLE, Limit.REACHED, HasKernel.REFUSED)),
        ("dead", (Life.OPEN, Step.IDLE, Limit.WITHIN, HasKernel.COMING_AGAIN)),
        ("running", (Life.OPEN, Step.RUNNING, Limit.REACHED, HasKernel.REFUSED)),
        ("finalized", (Life.FINALIZED, Step.IDLE, Limit.REACHED, HasKernel.REFUSED)),
    ],
)
def test_a_session_is_called_by_the_first_word_that_holds(
    called: str, joint: tuple[Life, Step, Limit, HasKernel]
) -> None:
    """In the order of an answer, a step, a kernel, a limit."""
    states = SessionStates()
    states.life, states.step, states.limit, states.kernel = joint
    assert states.word == called
