"""A stock ipykernel behind jupyter_client's own asynchronous client: ipc as ours, else default settings, no MCP.

By tcp jupyter_client chooses the ports long before the kernel binds them, and whatever else of the machine binds one
in between ends the kernel: of eight that start at once one did now and then.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

READY_S = 60


class StockKernel:
    """One kernel, started and spoken to as any Jupyter program does."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        connection_file = str(directory / f"{os.urandom(4).hex()}.json")
        self._manager = AsyncKernelManager(transport="ipc", connection_file=connection_file)
        self._client: AsyncKernelClient | None = None

    async def start(self) -> None:
        """Return when `wait_for_ready` does."""
        # Its history goes to a directory of ours: a benchmark leaves nothing in the user's profile.
        env = {**os.environ, "IPYTHONDIR": str(self._directory)}
        await self._manager.start_kernel(env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await self._connect()

    async def _connect(self) -> None:
        client: Any = self._manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=READY_S)
        self._client = client

    @property
    def pid(self) -> int:
        found = self._manager.provisioner
        pid = getattr(found, "pid", None)
        assert isinstance(pid, int)
        return pid

    async def step(self, code: str) -> dict[str, Any]:
        """Execute; return the reply's content once both the reply and the idle status have come."""
        return await self.finish(self.begin(code))

    def begin(self, code: str) -> str:
        """Send a step's code."""
        assert self._client is not None
        msg_id: str = self._client.execute(code)
        return msg_id

    async def finish(self, msg_id: str) -> dict[str, Any]:
        """Wait for the end of a step."""
        client: Any = self._client
        while True:
            message = await client.get_iopub_msg()
            mine = message["parent_header"].get("msg_id") == msg_id
            if mine and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while True:
            reply = await client.get_shell_msg()
            if reply["parent_header"].get("msg_id") == msg_id:
                content: dict[str, Any] = reply["content"]
                return content

    async def start_endless(self) -> str:
        """Start an endless Python loop, and give it time to begin."""
        msg_id = self.begin("while True: pass")
        await asyncio.sleep(0.2)
        return msg_id

    async def interrupt(self, msg_id: str) -> None:
        """Interrupt a step and wait for its end."""
        await self._manager.interrupt_kernel()
        await self.finish(msg_id)

    async def restart(self) -> None:
        """Kill the kernel and start another; return when it is ready."""
        self._stop_channels()
        await self._manager.restart_kernel(now=True)
        await self._connect()

    async def close(self) -> None:
        """End it."""
        self._stop_channels()
        if await self._manager.is_alive():
            await self._manager.shutdown_kernel(now=True)

    def _stop_channels(self) -> None:
        if self._client is not None:
            self._client.stop_channels()
            self._client = None

    def pss_mb(self) -> float:
        """Its proportional share of memory."""
        return float(psutil.Process(self.pid).memory_full_info().pss) / (1 << 20)


@asynccontextmanager
async def stock_kernels(count: int = 1) -> AsyncIterator[list[StockKernel]]:
    """Ready kernels, started together."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-stock-", ignore_cleanup_errors=True) as directory:
        kernels = [StockKernel(Path(directory)) for _ in range(count)]
        try:
            await asyncio.gather(*(kernel.start() for kernel in kernels))
            yield kernels
        finally:
            await asyncio.gather(*(kernel.close() for kernel in kernels))


@asynccontextmanager
async def stock_kernel() -> AsyncIterator[StockKernel]:
    """One ready kernel."""
    async with stock_kernels() as (kernel,):
        yield kernel
