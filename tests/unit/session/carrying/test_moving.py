"""A session moves from one node to another, with all that was acknowledged of it: values, record, budget, contexts.

With kernels that are not processes; two registries, each with a store of its own, and a dict that both see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import SessionBusy, SessionMoved, StoreDamaged
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.store.paths import snapshot_files
from tests.fake_kernel import FOREVER, Fakes, fake_registry
from tests.kernel.carrying.keeping import Keeper, Shared
from tests.sessions import SessionDriver, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
async def nodes(tmp_path: Path, shared: Shared) -> AsyncIterator[tuple[Fakes, Fakes, Keeper, Keeper]]:
    """Two, and who keeps the sessions of each."""
    first, second = Keeper(shared), Keeper(shared)
    async with fake_registry(tmp_path / "one", first) as one, fake_registry(tmp_path / "two", second) as two:
        first.registry, second.registry = one.registry, two.registry
        yield one, two, first, second


def at(fakes: Fakes, session: SessionDriver) -> SessionDriver:
    """The same session, asked for at another node."""
    return SessionDriver(fakes.registry, session.session_id)


Nodes = tuple[Fakes, Fakes, Keeper, Keeper]


async def test_a_session_of_a_lost_node_goes_on_elsewhere(nodes: Nodes) -> None:
    """Its first use there restores it, says so, and names nothing as older than it is; its budget and trace go on."""
    one, two, _, second = nodes
    session, _ = await one.open("some text")
    await session.ok("x = [1, 2]")
    before = await session.ok("y = {'a': 1}")
    await second.take_over(session.session_id)
    moved = at(two, session)
    report = await moved.ok("[x, y]")
    assert report.result == "[[1, 2], {'a': 1}]"
    assert report.step_index == 3
    assert report.lost is not None
    assert report.lost.reason == "its node was lost"
    assert report.lost.names == ()
    assert set(report.lost.restored) >= {"x", "y", "context"}
    assert report.budget.chars_left < before.budget.chars_left
    actions = [(event.action, event.result_status) for event in await moved.trace()]
    assert actions == [(action, "ok") for action in ("init_context", "run_repl", "run_repl", "run_repl", "restore")]
    with pytest.raises(SessionMoved):
        await session.ok("x")


async def test_a_session_moves_back_and_forth(nodes: Nodes) -> None:
    """What an earlier time left behind is never what it is now."""
    one, two, first, second = nodes
    session, _ = await one.open()
    await session.ok("x = 0")
    for turn in range(1, 5):
        to, keeper = ((two, second), (one, first))[turn % 2 - 1]
        await keeper.take_over(session.session_id)
        assert (await at(to, session).ok("x")).result == str(turn - 1)
        await at(to, session).ok(f"x = {turn}")
    steps = [event.step_index for event in await at(one, session).trace() if event.action == "run_repl"]
    assert steps == [*range(1, 10)]


async def test_a_step_whose_node_was_lost_is_unknown(nodes: Nodes) -> None:
    """In its report, in the trace, and when it is asked for by its code; it is never run again."""
    one, two, first, second = nodes
    session, kernel = await one.open()
    await session.ok("x = 1")
    await session.begin(FOREVER)
    await second.take_over(session.session_id)
    moved = at(two, session)
    report = await moved.end_of(2)
    assert (report.status, report.stdout) == ("unknown", "")
    assert report.lost is not None
    assert report.lost.reason == "the node that ran this step was lost before it told the step's end"
    async with two.registry.handles.in_use(session.session_id, two.registry.own) as found:
        again = await found.told.lost(FOREVER, 1_000)
        other = await found.told.lost("other", 1_000)
    assert (again.step_index, again.status) == (2, "unknown")
    assert (other.step_index, other.status) == (3, "unknown")
    assert (await moved.ok("x")).result == "1"
    assert [(event.step_index, event.result_status) for event in await moved.trace() if event.code] == [
        (1, "ok"),
        (2, "unknown"),
        (3, "unknown"),
        (4, "ok"),
    ]
    assert (await moved.end_of(3)).status == "unknown"
    await first.take_over(session.session_id)
    assert (await at(one, session).end_of(2)).status == "unknown"
    assert kernel.process.returncode is not None


async def test_a_released_session_has_all_elsewhere(nodes: Nodes, tmp_path: Path) -> None:
    """Its kernel has ended there, and nothing of it is left there."""
    one, two, _, second = nodes
    session, kernel = await one.open()
    await session.ok("x = 1")
    await one.registry.handles.hand_over(session.session_id, "its node is drained")
    one.registry.handles.moves.remove(session.session_id)
    await one.registry.handles.settled(session.session_id)
    assert kernel.process.returncode is not None
    assert one.registry.store.session(session.session_id) is None
    assert not any(path.exists() for path in snapshot_files(tmp_path / "one", session.session_id))
    await second.take_over(session.session_id, "its node was lost")
    report = await at(two, session).ok("x")
    assert report.lost is not None
    assert (report.result, report.lost.reason) == ("1", "its node is drained")


async def test_further_contexts_and_the_final_answer_are_there_too(nodes: Nodes) -> None:
    """Also where the session has ended: whoever asks elsewhere is answered the same."""
    one, two, _, second = nodes
    session, _ = await one.open("some text")
    await one.registry.add_context(session.session_id, Given("more text", None), Options("more"))
    await second.take_over(session.session_id)
    lost = (await at(two, session).ok("1")).lost
    assert lost is not None
    assert (lost.names, set(lost.restored) >= {"context", "more"}) == ((), True)
    final = await at(two, session).finalize(text="done")
    third = nodes[2]
    await third.take_over(session.session_id)
    assert (await at(one, session).finalize(text="done")).final_answer == final.final_answer


async def test_limits_that_were_reached_stay_reached(nodes: Nodes) -> None:
    """A session that may run no more step may run none elsewhere."""
    one, two, _, second = nodes
    session = await SessionDriver.open(one.registry, limits=Guardrails(max_steps=1))
    await session.run("x = 1")
    await second.take_over(session.session_id)
    assert (await at(two, session).run("x")).guardrail_stop == "max_steps"


async def test_values_beyond_the_bound_are_named_and_follow(nodes: Nodes) -> None:
    """Until they are there, whoever restores the session has the value before, and says so."""
    one, two, first, second = nodes
    session, _ = await one.open()
    await session.ok("x, y = 'old', 'small'")
    first.bytes_max = 200
    report = await session.ok("x, y = 'z' * 1000, 'new'")
    assert report.not_durable == ("x",)
    assert (await session.ok("y")).not_durable == ("x",)
    await second.take_over(session.session_id)
    moved = await at(two, session).ok("[x, y]")
    assert moved.result == "['old', 'new']"
    assert moved.lost is not None
    assert [name for name, _ in moved.lost.names] == ["x"]


async def test_a_value_that_was_named_is_durable_later(nodes: Nodes) -> None:
    """Once there is room for it, nothing is named any more, and it is what it was."""
    one, two, first, second = nodes
    session, _ = await one.open()
    first.bytes_max = 0
    assert (await session.ok("x = 1")).not_durable == ("x",)
    first.bytes_max = 1_000
    assert (await session.end_of(1)).not_durable == ()
    await second.take_over(session.session_id)
    moved = await at(two, session).ok("x")
    assert (moved.result, moved.lost and moved.lost.names) == ("1", ())


async def test_what_is_there_is_not_sent_again(nodes: Nodes) -> None:
    """A value goes once; an answer that tells nothing new sends nothing."""
    one, _, first, _ = nodes
    session, _ = await one.open()
    await session.ok("x = 1")
    await session.ok("x + 1")
    values = [key for keys in first.appended for key in keys if key.startswith("value:")]
    assert values == ["value:0:x"]
    first.appended.clear()
    await session.slice("x")
    assert first.appended == [[]]


async def test_names_that_are_gone_are_gone_elsewhere(nodes: Nodes) -> None:
    """A value that nobody has any more is not kept for others either."""
    one, two, _, second = nodes
    session, _ = await one.open()
    await session.ok("x = 1; y = 2")
    await session.ok("del x; z = 3")
    await session.ok("z = 4")
    assert not any(key.endswith(":x") for key in second.shared.sessions[session.session_id])
    await second.take_over(session.session_id)
    report = await at(two, session).ok("y")
    assert (report.result, report.lost and report.lost.names) == ("2", ())


async def test_a_session_that_is_used_is_not_released(nodes: Nodes) -> None:
    """A step that runs there goes on there."""
    one, _, _, _ = nodes
    session, _ = await one.open()
    await session.begin(FOREVER)
    with pytest.raises(SessionBusy):
        await one.registry.handles.hand_over(session.session_id, "its node is drained")
    assert one.registry.has(session.session_id)


async def test_a_kernel_whose_session_was_taken_over_ends_in_the_middle_of_its_step(nodes: Nodes) -> None:
    """Each call that waits for it is told; nothing of that step is in the session that goes on."""
    one, two, _, second = nodes
    session, kernel = await one.open()
    await session.ok("x = 1")
    waiting = asyncio.create_task(session.run(FOREVER))
    await until(lambda: session.session.running)
    await second.take_over(session.session_id)
    await one.registry.handles.moves.taken_over(session.session_id)
    with pytest.raises(SessionMoved):
        await waiting
    assert kernel.process.returncode is not None
    assert (await at(two, session).ok("x")).result == "1"


@pytest.mark.parametrize("damage", ["a value", "the index", "a row", "no index", "no record"])
async def test_what_is_damaged_is_not_taken_over(nodes: Nodes, tmp_path: Path, damage: str) -> None:
    """It says so, nothing of it stays, and what the shared store has is as it was."""
    one, two, _, second = nodes
    session, _ = await one.open()
    await session.ok("x = 1")
    kept = second.shared.sessions[session.session_id]
    whole = dict(kept)
    key = {"a value": "value:0:x", "the index": "index", "no index": "index"}.get(damage, "row:sessions")
    kept.pop(key)
    kept |= {} if damage.startswith("no ") else {key: whole[key][:-1]}
    with pytest.raises(StoreDamaged, match="cannot be taken over"):
        await second.take_over(session.session_id)
    assert two.registry.store.session(session.session_id) is None
    assert not any(path.exists() for path in snapshot_files(tmp_path / "two", session.session_id))
    kept |= whole
    await second.take_over(session.session_id)
    assert (await at(two, session).ok("x")).result == "1"


async def test_all_comes_again_where_nobody_knows_what_was_given(nodes: Nodes) -> None:
    """A session that was let go of and is used again: whoever has a row or a value twice has it as it is."""
    one, two, first, second = nodes
    session, _ = await one.open()
    await session.ok("x = 1")
    first.sent.clear()
    await session.slice("x")
    assert {"value:0:x", "index", "row:contexts", "row:sessions"} <= set(first.appended[-1])
    await second.take_over(session.session_id)
    assert (await at(two, session).ok("x")).result == "1"
