"""A step whose node was lost: told, in the trace, and never run again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.node.nodes import Asking, here
from tests.sessions import until

pytestmark = pytest.mark.slow


async def steps_of(node: Asking, session_id: str) -> list[tuple[int, str, str]]:
    """Number, end and code of each step in the trace."""
    page = await node.data("rlm_get_trace", session_id=session_id, detail="full")
    rows: list[dict[str, Any]] = [row for row in page["events"] if row["action"] == "run_repl"]
    return [(row["step_index"], row["result_status"], row["code"]) for row in rows]


def test_a_short_step_that_no_store_has_heard_of_is_unknown_and_not_run(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two") as (one, two):
            session_id = await one.opened()
            await one.step(session_id, "ran = 1")
            await two.adopt(session_id, 2)
            report = await two.lost_step(session_id, "ran += 1")
            assert (report["status"], report["step_index"]) == ("unknown", 2)
            assert (await two.step(session_id, "ran"))["result"] == "1"
            assert [row[:2] for row in await steps_of(two, session_id)] == [(1, "ok"), (2, "unknown"), (3, "ok")]

    asyncio.run(main())


def test_a_step_that_the_store_has_heard_of_is_in_the_trace_once(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two") as (one, two):
            session_id = await one.opened()
            await one.step(session_id, "ran = 1")
            code = "while True: pass"
            begun = await one.data("rlm_run_repl", session_id=session_id, code=code, wait_ms=0)
            assert begun["status"] == "running"  # which is told when the store knows that it began
            await two.adopt(session_id, 2)
            report = await two.lost_step(session_id, code)
            assert (report["status"], report["step_index"]) == ("unknown", 2)
            again = await two.data("rlm_await_step", session_id=session_id, step_index=2)
            assert again["status"] == "unknown"
            assert await steps_of(two, session_id) == [(1, "ok", "ran = 1"), (2, "unknown", code)]
            assert (await two.step(session_id, "ran"))["result"] == "1"

    asyncio.run(main())


def test_a_session_that_nobody_uses_leaves_its_node_and_comes_back(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlm_kernel_mcp.cluster.node.moves.IDLE_LOOK_S", 0.05)

    async def main() -> None:
        async with here(short_dir, "one", RLM_IDLE_TIMEOUT_S="1") as (one,):
            session_id = await one.opened()
            await one.step(session_id, "x = 1")
            await until(lambda: not one.host.held)
            assert not one.registry.store.knows(session_id)
            await one.adopt(session_id, 2)
            assert (await one.step(session_id, "x"))["result"] == "1"

    asyncio.run(main())
