"""What an answer of a node waits for, and what is said where the shared store is full, slow, read-only or behind."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from rlm_kernel_mcp.cluster.node.messages import Answer, Asked
from rlm_kernel_mcp.errors import NodeLost, SessionMoved
from rlm_kernel_mcp.session.reports import StepReport
from tests.cluster.node.nodes import Asking, here
from tests.sessions import until

pytestmark = pytest.mark.slow

LARGE = "import random\nlarge = random.randbytes(3_000_000); small = 5"
ONE_MB = {"RLM_CLUSTER_DURABLE_MB": "1", "RLM_CLUSTER_DURABLE_MS": "60000"}
"""A bound of size alone: on a busy machine a step's values are not there in a second, and all names are told then."""


async def agent_step(node: Asking, session_id: str, code: str) -> None:
    await node.step(session_id, code)


async def program_step(node: Asking, session_id: str, code: str) -> None:
    Answer(await node.call("door:run", Asked({"session_id": session_id, "code": code}).text())).value(StepReport)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ESTALE])
def test_a_step_that_the_store_did_not_take_is_no_report_and_can_be_had_later(short_dir: Path, number: int) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two", RLM_CLUSTER_DURABLE_MS="300") as (one, two):
            session_id = await one.opened()
            one.faults.errno = number
            body = await one.tool("rlm_run_repl", session_id=session_id, code="x = 1; print('done')")
            assert body["error"]["code"] == "SESSION_BUSY"
            assert "has by its step 1 is not in the shared store yet" in body["error"]["message"]
            assert "rlm_await_step" in body["error"]["next_step"]
            one.faults.errno = 0
            await until(lambda: not one.behind(session_id))
            assert (await one.data("rlm_await_step", session_id=session_id, step_index=1))["stdout"] == "done\n"
            await two.adopt(session_id, 2)
            assert (await two.step(session_id, "x"))["result"] == "1"

    asyncio.run(main())


def test_no_session_is_opened_that_the_store_does_not_have(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one") as (one,):
            one.faults.errno = errno.ENOSPC
            body = await one.tool("rlm_init_context", context_text="text")
            assert body["error"]["code"] == "SESSION_BUSY"
            assert (await one.fullness()).sessions == 0
            assert (await one.data("rlm_list_sessions"))["sessions"] == []
            one.faults.errno = 0
            assert (await one.step(await one.opened(), "1 + 1"))["result"] == "2"

    asyncio.run(main())


def test_a_value_beyond_the_bound_is_named_and_follows(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two", **ONE_MB) as (one, two):
            session_id = await one.opened()
            report = await one.step(session_id, LARGE)
            assert report["not_durable"] == ["large"]
            await one.release(session_id)
            await two.adopt(session_id, 2)
            report = await two.step(session_id, "(len(large), small)")
            assert report["result"] == "(3000000, 5)"
            assert report["lost"]["lost"] == []

    asyncio.run(main())


def test_a_value_that_did_not_follow_is_told_to_be_lost_and_all_others_are_as_they_were(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two", **ONE_MB) as (one, two):
            session_id = await one.opened()
            await one.step(session_id, "before = 'as it was'")
            await one.let_nothing_follow()
            report = await one.step(session_id, LARGE)
            assert report["not_durable"] == ["large"]
            await two.adopt(session_id, 2)
            report = await two.step(session_id, "(before, small)")
            assert report["result"] == "('as it was', 5)"
            assert [row["name"] for row in report["lost"]["lost"]] == ["large"]

    asyncio.run(main())


def test_with_lag_a_step_is_answered_at_once_and_the_next_one_waits_for_it(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlm_kernel_mcp.cluster.node.replication.LATE_S", 0.0)
    variables = {"RLM_CLUSTER_DURABILITY": "lag", "RLM_CLUSTER_DURABLE_MS": "300"}

    async def main() -> None:
        async with here(short_dir, "one", "two", **variables) as (one, two):
            session_id = await one.opened()
            await one.step(session_id, "x = 1")
            await until(lambda: not one.behind(session_id))
            one.faults.held.clear()
            assert (await one.step(session_id, "y = 2"))["status"] == "ok"
            body = await one.tool("rlm_run_repl", session_id=session_id, code="z = 3")
            assert "is not in the shared store yet" in body["error"]["message"]
            await two.adopt(session_id, 2)
            report = await two.step(session_id, "x")
            assert report["result"] == "1"
            assert "its last step may be missing" in report["lost"]["reason"]
            one.faults.held.set()
            with pytest.raises((SessionMoved, NodeLost)):
                await one.step(session_id, "x")

    asyncio.run(main())


@pytest.mark.parametrize("is_program", [False, True])
def test_a_session_that_another_node_has_taken_is_ended_here(short_dir: Path, is_program: bool) -> None:
    """Its step is told as lost, and is not to be run again: nobody knows whether the store had it just in time."""

    async def main() -> None:
        async with here(short_dir, "one", "two") as (one, two):
            session_id = await one.opened()
            await one.step(session_id, "x = 1")
            await two.adopt(session_id, 2)
            with pytest.raises(NodeLost):
                await (program_step if is_program else agent_step)(one, session_id, "x = 'zombie'")
            with pytest.raises(SessionMoved):
                await one.step(session_id, "x")
            await until(lambda: not one.registry.handles.sessions)
            assert (await two.step(session_id, "x"))["result"] == "1"
            await one.adopt(session_id, 3)  # and back
            assert (await one.step(session_id, "x + 1"))["result"] == "2"

    asyncio.run(main())


def test_a_node_that_does_not_know_yet_that_it_lost_a_session_tells_no_trace_of_it(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two") as (one, two):
            session_id = await one.opened()
            await one.step(session_id, "x = 1")
            await two.adopt(session_id, 2)
            with pytest.raises(SessionMoved):
                await one.data("rlm_get_trace", session_id=session_id)
            assert (await two.data("rlm_get_trace", session_id=session_id))["events"]

    asyncio.run(main())
