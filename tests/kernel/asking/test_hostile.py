"""A kernel that floods its channel: what it may have open is bounded. All else that one can do: corpus `questions/`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rlm_kernel_mcp.questions_wire import BATCH_MAX, FRAME_ITEMS_MAX
from rlm_kernel_mcp.session.registry import Registry
from tests.escape.cases import RAW
from tests.kernel.asking.conftest import Pair, answered_by
from tests.kernel.asking.scripted import ScriptedBoard, nothing
from tests.sessions import SessionDriver, end_session, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hostile(any_registry: Registry) -> AsyncIterator[Pair]:
    """A session whose code may import everything."""
    board = ScriptedBoard()
    with answered_by(any_registry, board):
        session = await SessionDriver.open(any_registry)
    yield Pair(session, board.of[session.session_id])
    await end_session(session)


async def test_a_flood_of_questions_waits_in_the_kernel(hostile: Pair, any_registry: Registry) -> None:
    """No more of them are open than may be, and another session is served meanwhile."""
    hostile.answers.rule = nothing
    code = """
number = 1_000
while True:
    write(ask(*([number + at, "p" * 1_000, None] for at in range(64))))
    number += 64
"""
    begun = await hostile.session.begin(RAW + code)
    await hostile.answers.until_open(BATCH_MAX)
    other = await SessionDriver.open(any_registry)
    assert (await other.ok("6 * 7")).result == "42"
    await end_session(other)
    assert len(hostile.answers.open) <= BATCH_MAX + FRAME_ITEMS_MAX
    await hostile.session.interrupt()
    report = await hostile.session.end_of(begun.step_index)
    assert report.status in ("interrupted", "kernel_died")
    await until(lambda: hostile.answers.open == {})  # thousands are ended in portions
