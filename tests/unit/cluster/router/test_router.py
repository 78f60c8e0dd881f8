"""Where a router sends a call: over fake nodes that are full, lost, stopped or begun anew, in every order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from rlm_kernel_mcp.cluster.router import looks
from rlm_kernel_mcp.cluster.router.protocol import Node
from rlm_kernel_mcp.errors import (
    ClusterUnavailable,
    InternalError,
    KernelDied,
    NoRoom,
    SessionBusy,
    SessionNotFound,
)
from tests.sessions import WAIT_S
from tests.unit.cluster.router.fake_cluster import SESSION_MB, FakeCluster, FakeNode, opened, said

pytestmark = pytest.mark.anyio


async def run(cluster: FakeCluster, session_id: str, code: str = "1", seed: int = 1) -> str:
    """What a step answers at a router that knows nothing."""
    return await said(cluster.router(seed), "door:run", session_id=session_id, code=code)


async def test_a_session_is_reached_by_any_router() -> None:
    cluster = FakeCluster.of(1_024, 1_024, 1_024)
    await opened(cluster.router(), "s_1")
    name = cluster.of_session("s_1").name
    assert {await run(cluster, "s_1", seed=seed) for seed in range(5)} == {f"{name} ok"}


@pytest.mark.parametrize("takes_all", [True, False])
async def test_sixty_random_opens_fill_the_nodes_alike(takes_all: bool) -> None:
    for seed in range(4):
        cluster, chance = FakeCluster.of(16_384, 16_400, 16_300), Random(seed)
        for node in cluster.nodes.values():
            node.takes_all = takes_all
        routers = [cluster.router(seed * 10 + at) for at in range(2)]
        for at in range(60):
            await opened(chance.choice(routers), f"s_{at}", manifest=chance.choice([None, "a" * 64, "b" * 64]))
            if chance.random() < 0.2:
                chance.choice([node for node in cluster.nodes.values() if node.sessions]).sessions.popitem()
        counts = [len(node.sessions) for node in cluster.nodes.values()]
        assert max(counts) / (sum(counts) / len(counts)) <= 1.2


async def test_sixty_opens_at_once_fill_the_nodes_alike() -> None:
    cluster = FakeCluster.of(16_384, 16_384, 16_384)
    router = cluster.router()
    await asyncio.gather(*(opened(router, f"s_{at}") for at in range(60)))
    assert [len(node.sessions) for node in cluster.nodes.values()] == [20, 20, 20]


async def test_a_larger_node_takes_more() -> None:
    cluster = FakeCluster.of(40 * SESSION_MB, 10 * SESSION_MB)
    router = cluster.router()
    for at in range(40):
        await opened(router, f"s_{at}")
    assert [len(node.sessions) for node in cluster.nodes.values()] == [34, 6]


async def test_a_node_that_has_the_context_is_preferred_until_it_is_fuller_by_much() -> None:
    cluster = FakeCluster.of(16_384, 16_384)
    node = cluster.nodes["n1"]
    node.load_now = replace(node.load_now, contexts=["c" * 64])
    router = cluster.router()
    for at in range(6):
        await opened(router, f"s_{at}", manifest="c" * 64)
    counts = Counter(claim.node for claim in cluster.store.claims.values())
    assert counts == {"n1": 4, "n0": 2}


async def test_nodes_that_drain_or_lack_a_wall_take_nothing() -> None:
    cluster = FakeCluster.of(9_999, 9_999, 1_024)
    await cluster.nodes["n0"].drain()
    cluster.nodes["n1"].load_now = replace(cluster.nodes["n1"].load_now, tier="")
    router = cluster.router()
    for at in range(4):
        await opened(router, f"s_{at}")
    assert len(cluster.nodes["n2"].sessions) == 4
    with pytest.raises(SessionBusy) as refused:
        await opened(router, "s_5")
    assert "n0 is draining; n1 lacks a wall that its policy requires; n2 has 0 of 1,024 MB free" in str(refused.value)


async def test_where_nobody_has_room_the_numbers_are_said() -> None:
    cluster = FakeCluster.of(SESSION_MB, 100)
    router = cluster.router()
    await opened(router, "s_1")
    with pytest.raises(SessionBusy) as refused:
        await opened(router, "s_2")
    assert "which may take 256 MB: n0 has 0 of 256 MB free and 1 session; n1 has 100 of 100 MB" in str(refused.value)
    with pytest.raises(SessionBusy, match="has no node"):
        await opened(FakeCluster.of().router(), "s_3")


async def test_a_node_that_refuses_a_session_is_not_the_last() -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    cluster.nodes["n0"].refuses = NoRoom("It is full by its own count.")
    assert await opened(cluster.router(), "s_1") == "n1 ok"


async def test_a_cluster_that_does_not_say_which_nodes_there_are_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looks, "PRESENT_S", 0.05)
    cluster = FakeCluster.of(1_024)

    async def says_nothing() -> Mapping[str, Node]:
        never: asyncio.Future[Mapping[str, Node]] = asyncio.get_running_loop().create_future()
        return await never

    monkeypatch.setattr(cluster, "present", says_nothing)
    with pytest.raises(ClusterUnavailable, match=r"within 0\.05 s which nodes"):
        await opened(cluster.router(), "s_1")


async def test_what_is_refused_in_a_call_is_its_answer() -> None:
    cluster = FakeCluster.of(9_999, 9_999)
    for node in cluster.nodes.values():
        node.refuses = KernelDied("It is of no use.")
    with pytest.raises(KernelDied, match="of no use"):
        await opened(cluster.router(), "s_1")


async def test_a_handle_of_nobody_is_not_found() -> None:
    with pytest.raises(SessionNotFound, match="s_none"):
        await run(FakeCluster.of(1_024), "s_none")


@pytest.mark.parametrize("verb", ["door:get", "door:finalize", "door:add_context", "tool:rlm_get_var"])
async def test_a_call_whose_node_is_lost_is_done_at_another_one(verb: str) -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    router = cluster.router()
    await opened(router, "s_1")
    lost = cluster.nodes["n0"]
    lost.at = lambda what: _lose(lost) if what == "call" else None
    assert await said(router, verb, session_id="s_1") == "n1 ok"
    assert cluster.store.claims["s_1"].epoch == 2


@pytest.mark.parametrize("verb", ["door:run", "tool:rlm_run_repl"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_step_in_flight_at_a_lost_node_is_unknown_and_never_run_again(verb: str, when: str) -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    router = cluster.router()
    await opened(router, "s_1")
    lost, other = cluster.nodes.values()

    def lose(what: str) -> None:
        if what == "call":
            _lose(lost)

    if when == "before":
        lost.at = lose
    else:
        lost.after = lose
    assert await said(router, verb, session_id="s_1", code="x += 1") == "n1 unknown"
    assert other.done == [(verb, {"session_id": "s_1", "code": "x += 1"}, True)]
    assert await said(router, verb, session_id="s_1", code="x") == "n1 ok"


async def test_a_step_of_a_session_that_was_idle_when_its_node_was_lost_is_run() -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    await opened(cluster.router(), "s_1")
    cluster.nodes["n0"].is_gone = True  # which nobody has said yet
    assert await run(cluster, "s_1") == "n1 ok"


async def test_a_node_that_says_nothing_is_lost_and_its_call_is_ended() -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    router = cluster.router()
    await opened(router, "s_1")
    stopped = cluster.nodes["n0"]
    stopped.at = lambda what: stopped.hangs.update({"call", "load"}) if what == "call" else None
    async with asyncio.timeout(WAIT_S):
        assert await said(router, "door:run", session_id="s_1", code="1") == "n1 unknown"
    assert "call" in stopped.cancelled
    stopped.hangs.clear()  # it goes on, and still believes that it has the session
    assert stopped.sessions == {"s_1": 1}
    assert await run(cluster, "s_1") == "n1 ok"


async def test_a_step_that_takes_long_is_waited_for_while_its_node_says_how_full_it_is() -> None:
    cluster = FakeCluster.of(9_999)
    router = cluster.router()
    await opened(router, "s_1")
    node, looks = cluster.nodes["n0"], Counter[str]()
    over = asyncio.Event()

    def count(what: str) -> None:
        looks[what] += 1
        if looks["load"] == 4:
            over.set()

    node.at = count
    come = node._come

    async def slowly(what: str) -> None:
        await come(what)
        if what == "call":
            await over.wait()

    node._come = slowly  # type: ignore[method-assign]
    async with asyncio.timeout(WAIT_S):
        assert await said(router, "door:run", session_id="s_1", code="1") == "n0 ok"


async def test_a_call_that_is_cancelled_is_cancelled_at_its_node() -> None:
    cluster = FakeCluster.of(9_999)
    router = cluster.router()
    await opened(router, "s_1")
    node, begun = cluster.nodes["n0"], asyncio.Event()
    node.hangs.add("call")
    node.at = lambda what: begun.set() if what == "call" else None
    call = asyncio.create_task(said(router, "door:run", session_id="s_1", code="1"))
    await begun.wait()
    call.cancel()
    await asyncio.wait({call})
    await asyncio.sleep(0)
    assert (call.cancelled(), node.cancelled) == (True, ["call"])


async def test_of_two_routers_that_move_a_session_one_wins_and_the_other_follows() -> None:
    for seed in range(4):
        cluster = FakeCluster.of(9_999, 1_024, 1_024)
        await opened(cluster.router(), "s_1")
        cluster.lose("n0")
        answers = await asyncio.gather(*(run(cluster, "s_1", seed=seed * 4 + at) for at in range(4)))
        assert set(answers) == {f"{cluster.of_session('s_1').name} ok"}
        assert cluster.store.claims["s_1"].epoch == 2
        assert sum(len(node.steps) for node in cluster.nodes.values()) == 4


async def test_the_calls_of_a_session_that_come_at_once_move_it_once() -> None:
    cluster = FakeCluster.of(9_999, 1_024, 1_024)
    router = cluster.router()
    await opened(router, "s_1")
    cluster.lose("n0")
    answers = await asyncio.gather(*(said(router, "door:get", session_id="s_1") for _ in range(10)))
    assert (len(set(answers)), cluster.store.claims["s_1"].epoch) == (1, 2)


async def test_a_node_that_is_lost_while_it_adopts_is_not_the_last() -> None:
    for when in ("at", "after"):
        cluster = FakeCluster.of(9_999, 2_048, 1_024)
        await opened(cluster.router(), "s_1")
        cluster.lose("n0")
        second = cluster.nodes["n1"]
        setattr(second, when, lambda what, node=second: _lose(node) if what == "adopt" else None)
        assert await run(cluster, "s_1") == "n2 ok"
        assert cluster.store.claims["s_1"].epoch == (2 if when == "at" else 3)


async def test_a_cache_that_is_wrong_costs_one_call_more() -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    old = cluster.router()
    await opened(old, "s_1")
    await cluster.nodes["n1"].adopt("s_1", 2)  # by another router's word
    assert await said(old, "door:run", session_id="s_1", code="1") == "n1 ok"
    assert [len(node.steps) for node in cluster.nodes.values()] == [0, 1]


async def test_a_node_that_has_begun_anew_adopts_its_own_sessions() -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    await opened(cluster.router(), "s_1")
    cluster.nodes["n0"].sessions.clear()
    assert await run(cluster, "s_1") == "n0 ok"
    assert cluster.store.claims["s_1"].epoch == 2


async def test_what_a_draining_node_has_let_go_goes_elsewhere() -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    await opened(cluster.router(), "s_1")
    await cluster.nodes["n0"].drain()
    assert await run(cluster, "s_1") == "n1 ok"


async def test_a_step_that_lost_its_epoch_in_the_middle_is_unknown() -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    router = cluster.router()
    await opened(router, "s_1")
    zombie, other = cluster.nodes.values()

    def overtaken(what: str) -> None:
        if what == "call" and not other.sessions:
            cluster.store.claim("s_1", 2, "n1")
            other.sessions["s_1"] = 2
            _lose(zombie)  # it answers that it cannot acknowledge the step

    zombie.after = overtaken
    assert await said(router, "door:run", session_id="s_1", code="x += 1") == "n1 unknown"
    assert other.steps == []


async def test_a_node_that_fails_to_say_how_full_it_is_takes_nothing() -> None:
    cluster = FakeCluster.of(9_999, 1_024)

    def fail(what: str) -> None:
        if what == "load":
            raise InternalError("A call failed in a node; its log has the details.")

    cluster.nodes["n0"].at = fail
    assert await opened(cluster.router(), "s_1") == "n1 ok"


async def test_a_node_that_is_there_again_takes_sessions() -> None:
    cluster = FakeCluster.of(9_999, 1_024)
    router = cluster.router()
    node = cluster.nodes["n0"]
    node.is_gone = True
    assert await opened(router, "s_1") == "n1 ok"
    node.is_gone = False
    assert await opened(router, "s_2") == "n0 ok"


def _lose(node: FakeNode) -> None:
    node.is_gone = True
