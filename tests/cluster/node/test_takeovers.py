"""Sessions that outlive their nodes: processes without Ray, with real kernels and a shared folder."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import NodeLost, SessionMoved
from tests.cluster.node.nodes import cluster

pytestmark = pytest.mark.slow

APPENDS = ("before_write", "written", "synced", "epoch_checked", "acknowledged")


def test_what_was_acknowledged_is_there_on_whatever_line_its_node_was_killed(short_dir: Path) -> None:
    """No acknowledged step is lost, none runs twice, and no name is told to be older than it is."""

    async def main() -> None:
        async with cluster(short_dir, ("home", *APPENDS)) as nodes:
            session_id = await nodes[0].opened()
            await nodes[0].step(session_id, "ran = [0]; kept = 'as it was'")
            ran = [0]
            lines = dict(zip(nodes[:-1], APPENDS, strict=True))
            for epoch, (node, line) in enumerate(lines.items(), 2):
                await node.arm(line)
                in_flight = [[], [epoch]]  # unknown: it ran, or did not
                with suppress(NodeLost):
                    await node.step(session_id, f"ran.append({epoch})")
                    in_flight = [[epoch]]  # its answer was faster than the end
                await node.gone()
                after = nodes[epoch - 1]
                await after.adopt(session_id, epoch)
                report = await after.step(session_id, f"ran.append({epoch * 10}); ran")
                assert report["lost"]["lost"] == []
                found = [int(one) for one in report["result"].strip("[]").split(",")]
                assert found in [[*ran, *steps, epoch * 10] for steps in in_flight]
                ran = found
            assert (await nodes[-1].step(session_id, "kept"))["result"] == "'as it was'"

    asyncio.run(main())


def test_a_node_that_was_only_stopped_acknowledges_nothing_when_it_goes_on(short_dir: Path) -> None:
    async def main() -> None:
        async with cluster(short_dir, ("stopped", "after")) as (stopped, after):
            session_id = await stopped.opened()
            await stopped.step(session_id, "z = 1")
            late = asyncio.create_task(stopped.step(session_id, "import time\ntime.sleep(3)\nz = 'zombie'"))
            while (await stopped.data("rlm_get_trace", session_id=session_id))["events"][-1]["result_status"] == "ok":
                assert not late.done(), "the step had ended before it was seen"
            stopped.signal(signal.SIGSTOP)
            await after.adopt(session_id, 2)
            assert (await after.step(session_id, "z += 1; z"))["result"] == "2"
            stopped.signal(signal.SIGCONT)
            with pytest.raises(NodeLost):
                await late
            with pytest.raises(SessionMoved):
                await stopped.data("rlm_get_var", session_id=session_id, var_name="z")
            assert (await stopped.fullness()).live_kernels == 0
            assert (await after.step(session_id, "z"))["result"] == "2"

    asyncio.run(main())


def test_of_two_that_adopt_one_session_one_has_it(short_dir: Path) -> None:
    async def main() -> None:
        async with cluster(short_dir, ("lost", "one", "two")) as (lost, one, two):
            session_id = await lost.opened()
            await lost.step(session_id, "x = 1")
            await lost.killed()
            adopting = (node.adopt(session_id, 2) for node in (one, two))
            found = await asyncio.gather(*adopting, return_exceptions=True)
            assert sorted(map(type, found), key=str) == sorted([type(None), SessionMoved], key=str)
            winner, loser = (one, two) if found[0] is None else (two, one)
            assert (await winner.step(session_id, "x + 1"))["result"] == "2"
            with pytest.raises(SessionMoved):
                await loser.step(session_id, "x")

    asyncio.run(main())
