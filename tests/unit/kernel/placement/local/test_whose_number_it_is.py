"""A status socket stays open as long as a start reads from it: the event loop watches its number until then."""

from __future__ import annotations

import asyncio

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement.local import startup_status
from rlm_kernel_mcp.kernel.placement.local.process import EXIT_UNKNOWN
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket
from tests.sessions import WAIT_S

pytestmark = pytest.mark.anyio


async def test_a_death_whose_cause_comes_late_closes_nothing_under_the_start_that_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fork server on a busy machine may be slow to say how a kernel ended; the next socket may get the number."""
    monkeypatch.setattr(startup_status, "EXIT_WAIT_S", 0.0)
    status = StatusSocket()
    start = asyncio.ensure_future(status.wait_ready())
    await asyncio.sleep(0)  # it waits
    assert await status.exit_code() == EXIT_UNKNOWN
    status.theirs.send(b'{"exit": 3}')
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(KernelStartFailed, match="exit status 3"):
            await start
    status.close()
