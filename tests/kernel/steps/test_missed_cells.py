"""Console cells that were run while nobody here listened: the kernel's own history tells of them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from rlm_kernel_mcp.kernel.untrusted.reply import Reply
from tests.sessions import WAIT_S, SessionDriver

pytestmark = pytest.mark.anyio

PROGRAM = (
    "import sys\n"
    "from jupyter_client import BlockingKernelClient\n"
    "client = BlockingKernelClient(connection_file=sys.argv[1])\n"
    "client.load_connection_file(); client.start_channels(); client.wait_for_ready(timeout=60)\n"
    "for code in sys.argv[2:]: client.execute_interactive(code, timeout=60)\n"
)


async def attached(connection_file: Path, *cells: str) -> None:
    """Run cells from another process, as a console does."""
    argv = [sys.executable, "-I", "-c", PROGRAM, str(connection_file), *cells]
    process = await asyncio.create_subprocess_exec(*argv)
    async with asyncio.timeout(WAIT_S):
        assert await process.wait() == 0


async def test_missed_cells_are_found_and_heard_ones_are_not_told_twice(session: SessionDriver) -> None:
    """The agent's own steps, of which the history tells too, are not a console's cells."""
    await session.ok("x = 1")
    connection_file = session.kernel.directories.connection_file
    client = session.kernel.client
    listen, heard = client.on_console, asyncio.Event()

    def listen_and_tell(reply: Reply) -> None:
        listen(reply)
        heard.set()

    client.on_console = listen_and_tell
    await attached(connection_file, "heard = 1")
    async with asyncio.timeout(WAIT_S):
        await heard.wait()
    client.on_console = lambda reply: None
    await attached(connection_file, "missed = 2", "missed / 0")
    client.on_console = listen
    await session.ok("heard + missed")
    for _ in range(2):
        cells = [event for event in await session.trace() if event.source == "console"]
        assert [cell.code for cell in cells] == ["heard = 1", "missed = 2", "missed / 0"]
        assert [cell.result_status for cell in cells] == ["ok", "unknown", "unknown"]
    assert session.session.counters.step_index == 2


async def test_a_long_history_does_not_cost_the_session_its_kernel(session: SessionDriver) -> None:
    """Longer than one message may be: the newest cells are told."""
    for number in range(6):
        await session.ok(f"x = {number}\n#" + "x" * 190_000)
    process = session.kernel.process
    await attached(session.kernel.directories.connection_file, "y = 1")
    await session.trace("summary")
    assert session.kernel.process is process
    assert (await session.ok("x + y")).lost is None
