"""Kernels that end while they start, and what a ready kernel has."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.placement.base import HostPlacement
from rlm_kernel_mcp.kernel.placement.forked import STARTS_MAX
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
from rlm_kernel_mcp.kernel.starter import KernelStarter
from rlm_kernel_mcp.settings import load_settings
from tests.sessions import WAIT_S, SessionDriver, open_registry

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("started_fork_servers")]


@pytest.mark.parametrize("moment", ["announced", "ready"])
async def test_a_kernel_that_ends_while_it_starts_is_told_at_once_with_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Not after the whole time that a start may take, and not as one that took too long."""
    wait_pid, wait_ready = StatusSocket.wait_pid, StatusSocket.wait_ready
    announced: list[int] = []

    async def kill_when_announced(self: StatusSocket) -> tuple[int, int]:
        pid, pidfd = await wait_pid(self)
        announced.append(pid)
        if moment == "announced":
            os.kill(pid, signal.SIGKILL)
        return pid, pidfd

    async def kill_when_ready(self: StatusSocket) -> list[dict[str, object]]:
        walls = await wait_ready(self)  # it may have come so far by the time it is killed
        if moment == "ready":
            os.kill(announced[0], signal.SIGKILL)
        return walls

    run_dir = RunDir.create()
    starter = KernelStarter(load_settings(Path.cwd(), {"RLM_STATE_DIR": str(tmp_path)}), run_dir)
    monkeypatch.setattr(StatusSocket, "wait_pid", kill_when_announced)
    monkeypatch.setattr(StatusSocket, "wait_ready", kill_when_ready)
    try:
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(KernelStartFailed, match="process was ended by SIGKILL before it was ready"):
                await starter.start()
    finally:
        starter.close()
        run_dir.remove()


async def test_few_kernels_start_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions are opened at once: they would take every processor from who only reads."""
    start, under_way, most = KernelStarter._start, 0, 0

    async def counted(starter: KernelStarter, placement: HostPlacement) -> Kernel:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await start(starter, placement)
        finally:
            under_way -= 1

    monkeypatch.setattr(KernelStarter, "_start", counted)
    async with open_registry(tmp_path) as opened:
        driver = await asyncio.gather(*(SessionDriver.open(opened) for _ in range(2 * STARTS_MAX + 1)))
        assert len({one.kernel.process.pid for one in driver}) == 2 * STARTS_MAX + 1
    assert most == STARTS_MAX
