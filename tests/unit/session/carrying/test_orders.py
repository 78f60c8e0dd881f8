"""A session that is kept and moved while things happen in any order: cut off at every await, late, at once, twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import RlmError, SessionBusy, SessionMoved
from rlm_kernel_mcp.session.carrying import outgoing
from rlm_kernel_mcp.session.carrying.outgoing import Sent
from rlm_kernel_mcp.session.snapshots.changes import Changes
from rlm_kernel_mcp.store.carrying.following import ChangedRows, Mark
from tests.cancelling import held_by
from tests.fake_kernel import FOREVER, Fakes, fake_registry
from tests.kernel.carrying.keeping import Keeper, Shared
from tests.sessions import WAIT_S, SessionDriver
from tests.unit.session.test_cancelled import at_every_await

pytestmark = pytest.mark.anyio
Nodes = tuple[Fakes, Fakes, Keeper, Keeper]


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    """Two, and who keeps the sessions of each."""
    first, second = (Keeper(shared := Shared()), Keeper(shared))
    async with fake_registry(tmp_path / "one", first) as one, fake_registry(tmp_path / "two", second) as two:
        first.registry, second.registry = one.registry, two.registry
        yield one, two, first, second


def at(fakes: Fakes, session: SessionDriver) -> SessionDriver:
    return SessionDriver(fakes.registry, session.session_id)


async def test_a_step_whose_call_is_cut_off_at_any_await_is_whole_elsewhere(nodes: Nodes) -> None:
    """Whatever was acknowledged before is there; the step that was cut off has ended there, or has not been begun."""
    one, two, first, second = nodes
    session, _ = await one.open()
    await session.ok("n = 0")
    counted = 0

    async def step() -> None:
        await session.run("n = n + 1")

    async def after(nth: int, cut_off: bool) -> None:
        nonlocal counted
        del cut_off
        if session.session.running:
            await session.end_of(session.session.counters.step_index)
        value = await session.value("n")  # acknowledged
        await second.take_over(session.session_id)
        moved = await at(two, session).ok("n")
        assert (moved.result, moved.lost and moved.lost.names) == (str(value), ()), f"cut off at await {nth}"
        assert value - counted in (0, 1)
        counted = value
        await first.take_over(session.session_id)
        assert (await session.ok("n")).result == str(value)

    assert await at_every_await(step, after) > 3


async def test_a_release_that_is_cut_off_at_any_await_leaves_the_session_somewhere(nodes: Nodes) -> None:
    """Here, as it was, or in the store that both see."""
    one, two, first, second = nodes
    session, _ = await one.open()
    await session.ok("x = 1")

    async def release() -> None:
        await one.registry.handles.hand_over(session.session_id, "its node is drained")

    async def after(nth: int, cut_off: bool) -> None:
        await one.registry.handles.settled(session.session_id)
        assert (await session.ok("x")).result == "1", f"cut off at await {nth}"
        if not cut_off:
            await second.take_over(session.session_id)
            assert (await at(two, session).ok("x")).result == "1"
            await first.take_over(session.session_id)
            await session.ok("x")

    assert await at_every_await(release, after) > 3


async def test_an_adoption_that_is_cut_off_at_any_await_can_be_made_again(nodes: Nodes) -> None:
    """Nothing of it is in the way, and nothing is held twice."""
    one, two, _, second = nodes
    session, _ = await one.open()
    await session.ok("x = 1")
    before = await held_by(two.registry)

    async def adopt() -> None:
        await second.take_over(session.session_id)

    async def after(nth: int, cut_off: bool) -> None:
        if cut_off:
            await adopt()
        assert (await at(two, session).ok("x")).result == "1", f"cut off at await {nth}"
        await two.registry.handles.moves.taken_over(session.session_id)
        assert await held_by(two.registry) == before

    assert await at_every_await(adopt, after) >= 1


async def test_values_that_come_late_are_named_and_are_there_later(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for them beyond the bound; the record does not wait for them."""
    come, apply = asyncio.Event(), Changes.apply

    async def late(changes: Changes, change: Callable[[], None]) -> None:
        await come.wait()
        await apply(changes, change)

    monkeypatch.setattr(Changes, "apply", late)
    one, two, first, second = nodes
    session, _ = await one.open()
    first.within_s = 0
    assert (await session.ok("x = 1")).not_durable == ("x",)
    kept = second.shared.sessions[session.session_id]
    assert not any(key.startswith("value:") for key in kept)
    first.within_s = WAIT_S
    come.set()
    assert (await session.end_of(1)).not_durable == ()
    come.clear()
    first.within_s = 0
    assert set((await session.ok("y = 2")).not_durable) == {"x", "y"}  # any name may have been changed in place
    await second.take_over(session.session_id)
    come.set()
    moved = await at(two, session).ok("x")
    assert moved.result == "1"
    assert moved.lost is not None
    assert {name for name, _ in moved.lost.names} == {"x", "y"}


async def test_an_append_of_which_nobody_knows_is_no_harm(nodes: Nodes) -> None:
    """It may have come, or not; and a value may stay behind after it."""
    one, two, first, second = nodes
    session, _ = await one.open()
    await session.ok("x = 'old'")
    sent = first.sent[session.session_id]
    await session.ok("x = 'new'")
    first.sent[session.session_id], first.bytes_max = sent, 0
    assert (await session.end_of(2)).not_durable == ("x",)
    await second.take_over(session.session_id)
    moved = await at(two, session).ok("x")
    assert moved.result == "'old'"
    assert moved.lost is not None
    assert [name for name, _ in moved.lost.names] == ["x"]


async def test_calls_at_once_are_all_kept(nodes: Nodes) -> None:
    """Readers, a step, and whoever waits for it, in any order."""
    one, two, _, second = nodes
    session, _ = await one.open()
    await session.ok("x = [1]")

    async def patient(call: Coroutine[Any, Any, Any]) -> Any:
        with suppress(SessionBusy):
            return await call

    for n in range(20):
        calls = [session.run(f"x = x + [{n}]"), session.slice("x"), session.run("x"), session.end_of(1)]
        await asyncio.gather(*map(patient, calls))
    value = await session.value("x")
    await second.take_over(session.session_id)
    assert (await at(two, session).ok("x")).result == repr(value)


async def test_two_who_take_a_session_over_at_once_have_one_of_them(nodes: Nodes) -> None:
    """Whoever was the last owns it; the other one is told, and has nothing of it."""
    one, two, first, second = nodes
    session, _ = await one.open()
    await session.ok("x = 1")
    await asyncio.gather(second.take_over(session.session_id), first.take_over(session.session_id))
    owner = second.shared.owners[session.session_id]
    here, there = (one, two) if owner is first else (two, one)
    assert (await at(here, session).ok("x")).result == "1"
    with pytest.raises(SessionMoved):
        await at(there, session).ok("x")


async def test_whoever_loses_a_session_in_the_middle_of_anything_tells_nobody_else(nodes: Nodes) -> None:
    """At each turn of the loop in turn: what was acknowledged is what the next node has."""
    one, two, first, second = nodes
    session, _ = await one.open()
    await session.ok("n = 0")
    for turns in range(0, 60, 3):
        step = asyncio.create_task(session.run("n = n + 1"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await second.take_over(session.session_id)
        try:
            told = (await step).status == "ok"
        except RlmError:
            told = False
        moved = at(two, session)
        value = await moved.value("n")
        assert value >= told
        assert (await moved.ok("n = 0")).status == "ok"
        await one.registry.handles.moves.taken_over(session.session_id)
        await first.take_over(session.session_id)
        assert (await session.ok("n")).result == "0"


async def test_a_zombie_that_is_told_to_run_acknowledges_nothing(nodes: Nodes) -> None:
    """Its step may run, in its own kernel; the session that goes on has nothing of it."""
    one, two, _, second = nodes
    session, _ = await one.open()
    await session.ok("z = 1")
    await second.take_over(session.session_id)
    await at(two, session).ok("z = 2")
    with pytest.raises(SessionMoved):
        await session.ok("z = 3")
    assert (await at(two, session).ok("z")).result == "2"


async def test_the_record_that_is_full_of_rows_is_kept_in_parts(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer leaves when all of them are there."""
    monkeypatch.setattr("rlm_kernel_mcp.store.carrying.following.ROWS_BYTES", 500)
    one, two, first, second = nodes
    session, _ = await one.open()
    for n in range(5):
        await session.ok(f"x{n} = 'a' * 400")
    first.sent[session.session_id] = Sent()
    await session.value("x0")
    await second.take_over(session.session_id)
    assert len([event for event in await at(two, session).trace() if event.action == "run_repl"]) == 5


async def test_a_step_that_still_runs_is_known_to_have_begun(nodes: Nodes) -> None:
    """Whoever was told that it runs finds it elsewhere, without an end."""
    one, two, _, second = nodes
    session, _ = await one.open()
    report = await session.begin(FOREVER)
    await second.take_over(session.session_id)
    assert (await at(two, session).end_of(report.step_index)).status == "unknown"


async def test_a_disk_that_does_not_answer_keeps_no_call_for_long(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and the step is there once the disk is."""
    one, _, _, _ = nodes
    session, _ = await one.open()
    answers = threading.Event()
    changed = one.registry.store.following.changed

    def slow(session_id: str, mark: Mark) -> ChangedRows:
        answers.wait()
        return changed(session_id, mark)

    monkeypatch.setattr(one.registry.store.following, "changed", slow)
    monkeypatch.setattr(one.registry.store.following, "changed_at_once", lambda *_: None)
    monkeypatch.setattr(outgoing, "DISK_S", 0.01)
    with pytest.raises(SessionBusy, match="does not answer"):
        await session.ok("x = 1")
    answers.set()
    monkeypatch.setattr(outgoing, "DISK_S", 10)
    assert (await session.end_of(1)).not_durable == ()
