"""A session of real kernels moves between two servers, each with a record of its own: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import SessionMoved
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.parked.reports import AnswerGiven, Handed
from tests.kernel.carrying.keeping import Keeper, Shared
from tests.sessions import WAIT_S, SessionDriver, open_registry

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
TEXT = "The first line.\nA needle lies here.\nThe last line.\n"
BIND = """
import collections
class Point:
    def __init__(self, x): self.x = x
def double(n): return 2 * n
points, counts = [Point(n) for n in range(100)], collections.Counter('abracadabra')
points[0] is points[0], double(21)
"""


async def test_values_record_questions_budget_and_citations_move_with_a_session(tmp_path: Path) -> None:
    """Its node is lost in the middle of a step; later it is released by the next one, and ends at the first again."""
    shared = Shared()
    first, second = Keeper(shared), Keeper(shared)
    async with AsyncExitStack() as ends:
        for keeper, name in ((first, "one"), (second, "two")):
            made = open_registry(tmp_path / name, keeper, RLM_SUBCALL_BACKEND="agent")
            keeper.registry = await ends.enter_async_context(made)
            keeper.registry.store.following.begin()
        session = await SessionDriver.open(first.has, TEXT)
        await session.ok(BIND)
        asked = await session.run("answer = llm_query('Which letter?', context); answer")
        assert asked.questions is not None
        handed = Handed((AnswerGiven(asked.questions.items[0].id, "beta"),), wait_ms=int(WAIT_S * 1000))
        answered = await first.has.answer(session.session_id, handed)
        assert (answered.status, answered.result, answered.not_durable) == ("ok", "'beta'", ())
        before = await session.ok("found = cite(search('needle')[0]); found")
        await session.begin("import time\nwhile True: time.sleep(0.01)")

        await second.take_over(session.session_id)
        with pytest.raises(SessionMoved):
            await session.slice("answer")
        moved = SessionDriver(second.has, session.session_id)
        report = await moved.ok("points[99].x, counts['a'], double(4), answer, context[:9], search('needle')[0]")
        assert report.result is not None
        assert report.result.startswith("(99, 5, 8, 'beta', 'The first'")
        assert report.lost is not None
        assert report.lost.names == ()
        assert {"points", "counts", "Point", "double", "answer", "found", "context"} <= {*report.lost.restored}
        assert report.budget.subcalls_left == before.budget.subcalls_left
        assert report.budget.chars_left < before.budget.chars_left
        assert (await moved.end_of(4)).status == "unknown"
        assert (await moved.ok("points.append(Point(7)); len(points)")).not_durable == ()

        await second.has.handles.hand_over(session.session_id, "its node is drained")
        second.has.handles.moves.remove(session.session_id)
        await first.take_over(session.session_id)
        assert (await session.ok("points[-1].x, answer")).result == "(7, 'beta')"
        events = await session.trace()
        steps = [(event.step_index, event.result_status) for event in events if event.action == "run_repl"]
        assert steps == [(1, "ok"), (2, "ok"), (3, "ok"), (4, "unknown"), (5, "ok"), (6, "ok"), (7, "ok")]
        assert [event.action for event in events].count("subcalls") == 1
        final = await session.finalize(text="It lies there [c1].", quotes=[Quote("The last line.")])
        assert final.citations is not None
        assert [one.status for one in final.citations] == ["verified", "verified"]
        assert await asyncio.to_thread(second.has.store.session, session.session_id) is None
