"""A cell of an attached console asks as a step does, and is booked as a console's."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.session.answering.questions import Answered
from rlm_kernel_mcp.session.steps.behind import BEHIND
from tests.kernel.asking.conftest import Pair
from tests.kernel.asking.scripted import nothing
from tests.sessions import WAIT_S, until

pytestmark = pytest.mark.anyio
PROGRAM: Final = (
    "import sys\n"
    "from jupyter_client import BlockingKernelClient\n"
    "client = BlockingKernelClient(connection_file=sys.argv[1])\n"
    "client.load_connection_file(); client.start_channels(); client.wait_for_ready(timeout=60)\n"
    "for code in sys.argv[2:]: client.execute_interactive(code, timeout=60)\n"
)


async def attached(connection_file: Path, *cells: str) -> None:
    """Run cells from another process, as a console does."""
    argv = [sys.executable, "-I", "-c", PROGRAM, str(connection_file), *cells]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.DEVNULL)
    async with asyncio.timeout(WAIT_S):
        assert await process.wait() == 0


@pytest.mark.slow
async def test_a_console_s_cell_asks_and_is_no_step(pair: Pair) -> None:
    """However early its question comes. What it leaves in a thread is stopped at its end."""
    await pair.session.ok("1")
    pair.answers.rule = lambda one: Answered(f"{one.source} {one.step_index}")
    connection_file = pair.session.kernel.directories.connection_file
    await attached(connection_file, "one = llm_query('p')", "two = llm_query_batched('p', ['a', 'b'])")
    report = await pair.session.ok("one, two, llm_query('p')")
    assert report.result == "('console 0', ['console 0', 'console 0'], 'mcp 2')"
    assert report.subcalls is not None
    assert report.subcalls.asked == 1
    pair.answers.rule = nothing
    start = "left = threading.Thread(target=llm_query_batched, args=('p', ['q']), daemon=True); left.start()"
    await attached(connection_file, "import threading", start)
    async with asyncio.timeout(WAIT_S):
        assert (await pair.session.ok("left.join()")).status == "ok"
    assert pair.answers.open == {}


async def test_a_console_s_cell_asks_before_the_agent_s_first_step(pair: Pair) -> None:
    """Its kernel has its way to ask as soon as it is there."""
    pair.answers.rule = lambda one: Answered(f"{one.source} {one.step_index}")
    await until(lambda: pair.session.session.kernel._way_to_ask.is_given)
    await attached(pair.session.kernel.directories.connection_file, "first = llm_query('p')")
    assert (await pair.session.ok("first")).result == "'console 0'"


async def test_a_step_behind_a_console_s_cell_says_so_and_what_it_waits_for_is_not_charged(pair: Pair) -> None:
    """The person's cell waits for an answer; the agent's step has not begun."""
    await pair.session.ok("1")
    pair.answers.rule = nothing
    connection_file = pair.session.kernel.directories.connection_file
    cell = asyncio.create_task(attached(connection_file, "got = llm_query('p')"))
    await until(lambda: pair.answers.open != {} and pair.session.kernel.client.console_busy)
    report = await pair.session.begin("got")
    assert report.note == BEHIND
    (number,) = pair.answers.open
    pair.answers.answer(number, Answered("at last"))
    ended = await pair.session.end_of(report.step_index)
    await cell
    assert (ended.status, ended.result, ended.note) == ("ok", "'at last'", None)
