"""Starts kernels: kernelspec, provisioner, readiness.

Is: how a `Kernel` comes to be, by the placement that the settings ask for. Is not: a session, nor where the process
comes from. Above: `pool.py`, `session/registry.py`. Below: `kernel.py`, `start.py`, `kernel/placement/`.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from rlm_kernel_mcp.errors import KernelStartFailed, SandboxUnavailable
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.placement.base import HostPlacement, Loader, Order
from rlm_kernel_mcp.kernel.placement.builder import effective_policy, use_sockets
from rlm_kernel_mcp.kernel.placement.choice import placement_of
from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec, spec_manager
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
from rlm_kernel_mcp.kernel.start import Begun, Launch, unless_dead
from rlm_kernel_mcp.kernel.thread_count import count_until_its_end, host_counts
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import shielded

KEY_BYTES: Final = 32


class KernelStarter:
    """Makes kernels by one policy. One a server."""

    def __init__(self, settings: Settings, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._specs = spec_manager(settings.jupyter)
        self._kernel_name = settings.kernel
        self.policy: Policy = effective_policy(
            locked_kernelspec(settings.kernel, settings.jupyter), settings.of_kernel()
        )
        self._time_zone = settings.time_zone
        self._placement = placement_of(settings, run_dir, self.policy)
        self._turns = asyncio.Semaphore(self._placement.starts_max)

    async def start(self) -> Kernel:
        """Start one kernel, when its turn comes, and wait until it is ready for code.

        In container mode a kernel that cannot have its container gets the process walls, where the user allowed that.

        Raises:
            SandboxUnavailable: a required wall cannot be raised.
            KernelStartFailed: anything else.
        """
        async with self._turns:
            return await self._start_now()

    async def _start_now(self) -> Kernel:
        try:
            return await self._start(self._placement)
        except SandboxUnavailable as why:
            placement, row = self._placement.fallback(why)
        # Not in the `except`: there a failure of this start would show the first one as its context.
        kernel = await self._start(placement)
        kernel.walls.insert(0, row)
        return kernel

    async def _start(self, placement: HostPlacement) -> Kernel:
        taken = await placement.take()
        try:
            directories = self._run_dir.kernel_dir()
        except KernelStartFailed:
            taken.close()
            raise
        order = Order(placement, directories, self.policy, owned=True, taken=taken, time_zone=self._time_zone)
        begun = Begun(self._manager(directories), order, placement)
        try:
            async with asyncio.timeout(self.policy.start_timeout_ms / 1000):
                started = await begun.launch()
                walls = await unless_dead(started.process, started.ready())
                client = await unless_dead(started.process, begun.connect())
        except BaseException as error:
            await shielded(begun.undo(isinstance(error, TimeoutError)), "the clean-up after a start that failed")
            if isinstance(error, TimeoutError):
                limit_ms = self.policy.start_timeout_ms
                raise KernelStartFailed(f"The kernel was not ready within {limit_ms:,} ms.") from error
            if isinstance(error, OSError):
                raise KernelStartFailed(f"The kernel cannot be made: {error.strerror}.") from error
            raise
        # From here on the kernel has an owner; until now a failure had to undo the start.
        kernel = Kernel.joined(started, client, directories, walls)
        if host_counts(walls):
            count_until_its_end(kernel, self.policy.limits.threads)
        return kernel

    async def loader(self, file_mb: int, cpu_s: int, value_mb: int = 0) -> Loader | None:
        """A process that reads a context. Raises: as `HostPlacement.loader`."""
        return await self._placement.loader(file_mb, cpu_s, value_mb)

    def _manager(self, directories: KernelDir) -> Launch:
        manager = Launch(
            kernel_name=self._kernel_name,
            kernel_spec_manager=self._specs,
            connection_file=str(directories.connection_file),
        )
        use_sockets(manager, directories)
        # Its own for each kernel: whoever knows one cannot sign messages to another.
        manager.session.key = os.urandom(KEY_BYTES).hex().encode()
        return manager

    def stop(self) -> None:
        """Start no kernel any more; one that is being started comes to nothing, at once."""
        self._placement.stop()

    def close(self) -> None:
        """End what makes kernels, and with it every kernel that is left; containers go with the run directory."""
        self._placement.close()
