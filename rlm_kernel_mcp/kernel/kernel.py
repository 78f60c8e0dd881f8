"""One live, locked-down kernel, as the host holds it.

Is: its process, client, directories and walls, and its end. Is not: how it was started (`starter.py`), nor what runs in
it. Above: `starter.py`, `session/`. Below: `client.py`, `kernel/placement/`.
"""

from __future__ import annotations

import array
import asyncio
import signal
import socket
from dataclasses import dataclass
from typing import Any

from rlm_kernel_mcp.kernel.client import KernelClient
from rlm_kernel_mcp.kernel.placement.local.process import KernelProcess
from rlm_kernel_mcp.kernel.placement.run_dir import KernelDir
from rlm_kernel_mcp.kernel.start import gone
from rlm_kernel_mcp.shielded import shielded


@dataclass(slots=True)
class Kernel:
    """One live, locked-down kernel."""

    process: KernelProcess
    client: KernelClient
    folders: KernelDir
    walls: list[dict[str, Any]]
    descriptors: socket.socket
    """Our end of the socket on which the kernel takes descriptors."""
    base_bytes: int
    """Resident memory when the kernel was ready, before any user code."""

    @property
    def dead(self) -> asyncio.Future[int]:
        return self.process.dead

    def interrupt(self) -> None:
        """SIGINT to the kernel."""
        self.process.send_signal(signal.SIGINT)

    def pass_descriptor(self, descriptor: int) -> None:
        """Hand an open file to the kernel, which asks for it next."""
        self.descriptors.sendmsg([b"d"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])

    async def kill(self, reason: str = "it was shut down") -> None:
        """SIGKILL the kernel with all its threads, wait for its death, remove its folders; a cancelled wait too."""
        self.client.close(reason)
        self.process.kill()
        await shielded(self._buried(), f"the end of kernel {self.process.pid}")

    async def _buried(self) -> None:
        died = await gone(self.process)
        self.descriptors.close()
        if died:
            self.folders.remove()
