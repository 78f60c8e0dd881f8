"""One live, locked-down kernel, as the host holds it.

Is: its process, client, directories and walls, and its end. Is not: how it was started (`starter.py`), nor what runs in
it. Above: `starter.py`, `session/`. Below: `client.py`, `kernel/placement/`.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import Any

from rlm_kernel_mcp.kernel.client import KernelClient
from rlm_kernel_mcp.kernel.mapped_file import MappedFile
from rlm_kernel_mcp.kernel.placement.base import HostProcess, StartedKernel
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir
from rlm_kernel_mcp.kernel.placement.local.process import describe_exit
from rlm_kernel_mcp.kernel.start import gone
from rlm_kernel_mcp.shielded import shielded


@dataclass(slots=True)
class Kernel:
    """One live, locked-down kernel."""

    started: StartedKernel
    client: KernelClient
    directories: KernelDir
    walls: list[dict[str, Any]]
    base_bytes: int
    """Its own memory (`memory_bytes`) when it was ready, before any user code."""
    base_threads: int = 0
    """Threads, then."""
    mapped: list[MappedFile] = field(default_factory=list)
    """The files of its contexts that are not in its memory."""
    claims_before: int = 0
    """Numbers of claims up to which its session may have used some."""

    @classmethod
    def joined(
        cls, started: StartedKernel, client: KernelClient, directories: KernelDir, walls: list[dict[str, Any]]
    ) -> Kernel:
        """A kernel that has just become ready. When its process ends, so does its client, and the other way round."""
        process, mapped = started.process, list[MappedFile]()
        process.dead.add_done_callback(lambda code: client.close(_end(code.result(), mapped)))
        # A kernel that nobody reads any more must not run on unseen.
        client.on_broken = lambda reason: process.kill()
        return cls(started, client, directories, walls, process.memory_bytes(), process.thread_count(), mapped)

    @property
    def process(self) -> HostProcess:
        return self.started.process

    @property
    def dead(self) -> asyncio.Future[int]:
        return self.process.dead

    def interrupt(self) -> None:
        """SIGINT to the kernel."""
        self.process.send_signal(signal.SIGINT)

    def pass_descriptor(self, descriptor: int, *, shell: bool = False) -> None:
        """Hand an open file to the kernel, for the next request on control (on shell if asked). Raises: OSError."""
        self.started.pass_descriptor(descriptor, shell=shell)

    async def kill(self, reason: str = "it was shut down") -> None:
        """SIGKILL the kernel with all its threads, wait for its death, remove its directories; a cancelled wait too."""
        self.client.close(reason)
        self.process.kill()
        await shielded(self._buried(), f"the end of kernel {self.process.pid}")

    async def _buried(self) -> None:
        died = await gone(self.process)
        self.started.close()
        if died:
            self.directories.remove()


def _end(exit_code: int, mapped: list[MappedFile]) -> str:
    """How a kernel's process ended, and which of its files ended it; lets the files go."""
    why = next((f" ({said})" for file in mapped if (said := file.end_by(exit_code))), "")
    for file in mapped:
        file.close()
    return f"its process {describe_exit(exit_code)}{why}"
