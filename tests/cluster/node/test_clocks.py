"""Nodes whose clocks are an hour apart: no clock decides anything, and the record stays in its order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cluster.node.nodes import started

pytestmark = pytest.mark.slow


def test_a_session_goes_to_a_node_that_is_an_hour_late_and_back(short_dir: Path) -> None:
    async def main() -> None:
        async with started(short_dir, "now") as now, started(short_dir, "late", behind_s=3600) as late:
            session_id = await now.opened()
            await now.step(session_id, "ran = [1]")
            for epoch, node in enumerate((late, now, late), 2):
                await node.adopt(session_id, epoch)
                report = await node.step(session_id, f"ran.append({epoch}); ran")
                assert report["result"] == str(list(range(1, epoch + 1)))
            events = (await late.data("rlm_get_trace", session_id=session_id))["events"]
            steps = [event["step_index"] for event in events if event["action"] == "run_repl"]
            assert steps == [1, 2, 3, 4]
            assert [event["step_index"] for event in events] == sorted(event["step_index"] for event in events)

    asyncio.run(main())
