"""The container placement: each kernel has a container of its own.

Is: the engine's readiness, one kernel's start in it, and the process walls instead where the user allowed those.
Is not: what an engine is asked and how a container ends (`container/`). Above: `choice.py`. Below: `base.py`,
`container/`, `local/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelFailure, SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.base import Command, HostPlacement, Loader, Order
from rlm_kernel_mcp.kernel.placement.container.arguments import with_runtime
from rlm_kernel_mcp.kernel.placement.container.launch import KernelContainer
from rlm_kernel_mcp.kernel.placement.container.runtime import Containers
from rlm_kernel_mcp.kernel.placement.local.started import Ends, LocalKernel, ends_of
from rlm_kernel_mcp.settings import Settings

STARTS_MAX: Final = 8
"""Kernels that are started at a time: a start spends most of its time waiting for the engine."""


class ContainerPlacement:
    """`base.HostPlacement` by a container engine."""

    starts_max = STARTS_MAX
    named_within_s = 0.0

    def __init__(self, settings: Settings, run_dir: Path, otherwise: HostPlacement) -> None:
        """`run_dir`: the server's, which labels its containers. `otherwise`: for kernels that can have none."""
        self._containers = Containers(settings, run_dir)
        self._run_dir = run_dir
        self._otherwise = otherwise

    async def take(self) -> Ends:
        """The sockets, once the engine serves and has the image.

        Raises:
            SandboxUnavailable: with the command that fixes it. KernelStartFailed.
        """
        await self._containers.ready_runtime()
        return Ends()

    async def start(self, order: Order, command: Command) -> LocalKernel:
        """Start a container and the kernel in it. Raises: SandboxUnavailable, KernelStartFailed."""
        runtime = await self._containers.ready_runtime()
        place = KernelContainer(runtime, self._run_dir, order.directories, order.policy.limits)
        ends = ends_of(order.taken)
        process = await place.start(command.arguments, command.environment, ends.status, ends.theirs)
        return ends.kernel(process, lambda rows: with_runtime(runtime, rows))

    async def loader(self, file_mb: int, cpu_s: int, value_mb: int = 0) -> Loader | None:
        """Behind the process walls, where this machine has them: it reads for the host, and runs nobody's code."""
        try:
            return await self._otherwise.loader(file_mb, cpu_s, value_mb)
        except KernelFailure:
            return None

    def fallback(self, why: SandboxUnavailable) -> tuple[HostPlacement, dict[str, Any]]:
        """The process walls, where the user allowed them. Raises: `why`."""
        return self._otherwise, self._containers.fallback(why)

    def stop(self) -> None:
        """Starts of containers are cancelled by themselves; a kernel without one may be waiting for the fork server."""
        self._otherwise.stop()

    def close(self) -> None:
        """Containers that are left go with the run directory."""
        self._otherwise.close()
        self._containers.close()
