"""Starts kernels: kernelspec, provisioner, readiness.

Is: how a `Kernel` comes to be, forked from a fork server where that holds, cold where it does not. Is not: a session.
Above: `pool.py`, `session/registry.py`. Below: `kernel.py`, `start.py`, `kernel/placement/forked.py`,
`kernel/placement/provisioner.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from rlm_kernel_mcp.errors import KernelStartFailed, RlmError, SandboxUnavailable
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.placement.builder import effective_policy, use_sockets
from rlm_kernel_mcp.kernel.placement.container import arguments as container
from rlm_kernel_mcp.kernel.placement.container.arguments import ContainerRuntime
from rlm_kernel_mcp.kernel.placement.container.launch import KernelContainer
from rlm_kernel_mcp.kernel.placement.container.runtime import Containers
from rlm_kernel_mcp.kernel.placement.forked import ForkServer, default_python
from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec, spec_manager
from rlm_kernel_mcp.kernel.placement.local.process import ended_how
from rlm_kernel_mcp.kernel.placement.provisioner import LaunchOptions
from rlm_kernel_mcp.kernel.placement.run_dir import KernelDir, RunDir
from rlm_kernel_mcp.kernel.start import Begun, Launch, sockets, unless_dead
from rlm_kernel_mcp.kernel.thread_count import count_until_its_end, host_counts
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import shielded

log = logging.getLogger(__name__)
KEY_BYTES: Final = 32
STARTS_MAX: Final = 2
"""Kernels that are started at a time: thirty at once take every processor, and who only reads waits as long as they."""
CONTAINER_STARTS_MAX: Final = 8
"""The same in container mode, where a start waits for the engine most of its time."""


class KernelStarter:
    """Makes kernels by one policy. One a server."""

    def __init__(self, settings: Settings, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._specs = spec_manager()
        self._kernel_name = settings.kernel
        self.policy: Policy = effective_policy(locked_kernelspec(settings.kernel), settings.of_kernel())
        self._fork_server: ForkServer | None = None
        self._fork_lock = asyncio.Lock()
        self._turns = asyncio.Semaphore(STARTS_MAX if settings.sandbox_mode == "process" else CONTAINER_STARTS_MAX)
        self._containers = Containers(settings, run_dir.path) if settings.sandbox_mode == "container" else None
        if self._containers is None:
            run_dir.guard()

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
        if self._containers is None:
            return await self._start(None)
        try:
            return await self._start(await self._containers.ready_runtime())
        except SandboxUnavailable as why:
            row = self._containers.fallback(why)
        kernel = await self._start(None)
        kernel.walls.insert(0, row)
        return kernel

    async def _start(self, runtime: ContainerRuntime | None) -> Kernel:
        status, ours, theirs = sockets()
        try:
            folders = self._run_dir.kernel_dir()
        except KernelStartFailed:
            for end in (status, ours, theirs):
                end.close()
            raise
        place = KernelContainer(runtime, self._run_dir.path, folders, self.policy.limits) if runtime else None
        begun = Begun(self._manager(folders), folders, status, ours, theirs)
        try:
            async with asyncio.timeout(self.policy.start_timeout_ms / 1000):
                fork_server = await self._ready_fork_server() if place is None else None
                process = await begun.launch(LaunchOptions(folders, self.policy, status, theirs, fork_server, place))
                walls = container.with_runtime(runtime, await unless_dead(process, status.wait_ready()))
                client = await unless_dead(process, begun.connect())
        except BaseException as error:
            await shielded(begun.undo(isinstance(error, TimeoutError)), "the clean-up after a start that failed")
            if isinstance(error, TimeoutError):
                limit_ms = self.policy.start_timeout_ms
                raise KernelStartFailed(f"The kernel was not ready within {limit_ms:,} ms.") from error
            if isinstance(error, OSError):
                raise KernelStartFailed(f"The kernel cannot be made: {error.strerror}.") from error
            raise
        process.dead.add_done_callback(lambda code: client.close(f"its process {ended_how(code.result())}"))
        # What is not read any more must not run on unseen.
        client.on_broken = lambda reason: process.kill()
        kernel = Kernel(process, client, folders, walls, ours, process.resident_bytes())
        if host_counts(walls):
            count_until_its_end(kernel, self.policy.limits.threads)
        return kernel

    def _manager(self, folders: KernelDir) -> Launch:
        manager = Launch(
            kernel_name=self._kernel_name,
            kernel_spec_manager=self._specs,
            connection_file=str(folders.connection_file),
        )
        use_sockets(manager, folders)
        manager.session.key = os.urandom(KEY_BYTES).hex().encode()
        return manager

    async def _ready_fork_server(self) -> ForkServer | None:
        """The fork server, started (again) where it is not running; None where there is none: kernels start cold."""
        async with self._fork_lock:
            if self._fork_server is not None and self._fork_server.alive:
                return self._fork_server
            if self._fork_server is not None:
                log.warning("the fork server ended; starting another")
                self._fork_server.stop()
                self._fork_server = None
            policy_file = self._run_dir.path / "policy.json"
            policy_file.write_text(self.policy.model_dump_json(), encoding="utf-8")
            try:
                self._fork_server = await ForkServer.start(default_python(), policy_file)
            except RlmError as error:
                log.warning("kernels start cold: %s", error.message)
            return self._fork_server

    def close(self) -> None:
        """Stop the fork server, and with it every kernel that is still there; containers go with the run folder."""
        if self._fork_server is not None:
            self._fork_server.stop()
            self._fork_server = None
        if self._containers is not None:
            self._containers.close()
