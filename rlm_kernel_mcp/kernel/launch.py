"""Starts kernels: kernelspec, provisioner, readiness.

Is: one live kernel as `Kernel` (process, client, folders, walls) and the `KernelStarter` that makes them, forked from a
fork server where that holds, cold where it does not. Is not: a session. Above: `pool.py`, `session/`.
Below: jupyter_client's manager, `provisioner.py`, `client.py`.
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import signal
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from rlm_kernel_mcp.errors import KernelDied, KernelStartFailed, RlmError, SandboxUnavailable
from rlm_kernel_mcp.kernel import container
from rlm_kernel_mcp.kernel.client import CLOSED_GRACE_S, KernelClient
from rlm_kernel_mcp.kernel.container import ContainerRuntime
from rlm_kernel_mcp.kernel.container_launch import KernelContainer
from rlm_kernel_mcp.kernel.container_runtime import Containers
from rlm_kernel_mcp.kernel.fork_server import ForkServer, default_python
from rlm_kernel_mcp.kernel.kernelspec import POLICY_FILE, kernelspec_dir, locked_kernelspec
from rlm_kernel_mcp.kernel.process import KernelProcess, ended_how
from rlm_kernel_mcp.kernel.provisioner import LaunchOptions, RlmProvisioner
from rlm_kernel_mcp.kernel.rundir import KernelDir, RunDir
from rlm_kernel_mcp.kernel.status import StatusSocket, ended
from rlm_kernel_mcp.policy import Policy, load_policy
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import shielded

log = logging.getLogger(__name__)
KEY_BYTES: Final = 32
DEATH_S: Final = 20.0
"""How long a killed process may take to be gone: its memory is given back, its container is removed."""
NAME_S: Final = 2.0
"""How long a kernel that nobody waits for any more may take to say who it is, so that it can be ended."""
T = TypeVar("T")


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


class Launch(AsyncKernelManager):
    """jupyter_client's way from a kernelspec to a process, and no further.

    Its own connection to the control channel is left out: libzmq would hold whatever a hostile kernel sends there.
    """

    @property
    def kernel_process(self) -> KernelProcess | None:
        """The process, from the moment on at which there is one."""
        process = self.provisioner.process if isinstance(self.provisioner, RlmProvisioner) else None
        return process if isinstance(process, KernelProcess) else None

    def _connect_control_socket(self) -> None:
        """Connect to nothing: `client.py` does, within bounds."""

    def cleanup_connection_file(self) -> None:
        """Leave it: this object is dropped once the kernel runs, and a console attaches by that file."""


class KernelStarter:
    """Makes kernels by one policy. One a server."""

    def __init__(self, settings: Settings, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._specs = KernelSpecManager(ensure_native_kernel=False)
        self._specs.kernel_dirs = [str(kernelspec_dir()), *self._specs.kernel_dirs]
        self._kernel_name = settings.kernel
        self.policy: Policy = load_policy(locked_kernelspec(settings.kernel) / POLICY_FILE).with_settings(
            import_policy=settings.import_policy, imports=settings.imports, memory_limit_mb=settings.memory_limit_mb
        )
        self._fork_server: ForkServer | None = None
        self._fork_lock = asyncio.Lock()
        self._containers = Containers(settings, run_dir.path) if settings.sandbox_mode == "container" else None
        if self._containers is None:
            run_dir.guard()

    async def start(self) -> Kernel:
        """Start one kernel and wait until it is ready for code.

        In container mode a kernel that cannot have its container gets the process walls, where the user allowed that.

        Raises:
            SandboxUnavailable: a required wall cannot be raised.
            KernelStartFailed: anything else.
        """
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
        status, ours, theirs = _sockets()
        try:
            folders = self._run_dir.kernel_dir()
        except KernelStartFailed:
            for end in (status, ours, theirs):
                end.close()
            raise
        place = KernelContainer(runtime, self._run_dir.path, folders, self.policy.limits) if runtime else None
        begun = _Begun(self._manager(folders), folders, status, ours, theirs)
        try:
            async with asyncio.timeout(self.policy.start_timeout_ms / 1000):
                fork_server = await self._ready_fork_server() if place is None else None
                process = await begun.launch(LaunchOptions(folders, self.policy, status, theirs, fork_server, place))
                walls = container.with_runtime(runtime, await _unless_dead(process, status.wait_ready()))
                client = await _unless_dead(process, begun.connect())
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
        return Kernel(process, client, folders, walls, ours, process.resident_bytes())

    def _manager(self, folders: KernelDir) -> Launch:
        manager = Launch(
            kernel_name=self._kernel_name,
            kernel_spec_manager=self._specs,
            connection_file=str(folders.connection_file),
            transport="ipc",
            ip=folders.socket_stem,
        )
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


class _Begun:
    """A start that has begun: what it has taken so far, to be given back where it comes to nothing."""

    def __init__(
        self, manager: Launch, folders: KernelDir, status: StatusSocket, ours: socket.socket, theirs: socket.socket
    ) -> None:
        self._manager = manager
        self._folders = folders
        self._status = status
        self._ours = ours
        self._theirs = theirs
        self._client = KernelClient(manager.session.key)
        self._launching: asyncio.Task[None] | None = None
        self._forked = False

    async def launch(self, options: LaunchOptions) -> KernelProcess:
        """Have the process started. In a task of its own: one that was asked for must be known, to be ended."""
        self._forked = options.fork_server is not None
        self._launching = asyncio.ensure_future(self._manager.start_kernel(rlm_options=options))
        await asyncio.shield(self._launching)
        process = self._manager.kernel_process
        assert process is not None
        self._theirs.close()
        return process

    async def connect(self) -> KernelClient:
        """Our own readiness test: the shell answers and iopub has welcomed us."""
        await self._client.open(dict(self._manager.get_connection_info()))
        await self._client.request("kernel_info_request", {}, shell=True)
        return self._client

    async def undo(self, waited: bool) -> None:
        """Give everything back. `waited`: a process that has not said who it is had its time to do so."""
        self._client.close()
        self._status.nobody_waits()
        if self._launching is not None:
            if self._forked and not waited:
                await asyncio.wait({self._launching}, timeout=NAME_S)
            self._launching.cancel()
            await asyncio.wait({self._launching}, timeout=DEATH_S)
            if self._launching.done() and not self._launching.cancelled():
                self._launching.exception()  # looked at; `launch` has raised it, or nobody waits for it
        # The manager's own: it sleeps for a while after it has started the process, and may be cut off there.
        if (started := self._manager.kernel_process) is not None:
            started.kill()
        died = started is None or await gone(started)
        for end in (self._ours, self._theirs, self._status):
            end.close()
        if died:
            self._folders.remove()


async def gone(process: KernelProcess) -> bool:
    """Wait for a killed process's death, as long as that can take; whether it came."""
    await asyncio.wait({process.dead}, timeout=DEATH_S)
    if not process.dead.done():
        log.error("kernel process %d was killed, and is still there after %.0f s", process.pid, DEATH_S)
    return process.dead.done()


def _sockets() -> tuple[StatusSocket, socket.socket, socket.socket]:
    """A status socket, and the two ends, the host's first, of the one on which a kernel takes descriptors."""
    try:
        status = StatusSocket()
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            status.close()
            raise
    except OSError as error:
        raise KernelStartFailed(f"The kernel's sockets cannot be made: {error.strerror}.") from error
    ours.shutdown(socket.SHUT_RD)  # this socket carries descriptors one way; nothing is ever read here
    ours.setblocking(False)
    return status, ours, theirs


async def _unless_dead(process: KernelProcess, step: Coroutine[Any, Any, T]) -> T:
    """What a step of a start comes to.

    Raises:
        KernelStartFailed: the kernel ended before, or cannot be reached; and what the step raises.
    """
    waiting = asyncio.ensure_future(step)
    try:
        waits: list[asyncio.Future[Any]] = [waiting, process.dead]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        unreached = waiting.exception() if waiting.done() else None
        if isinstance(unreached, KernelDied):
            await asyncio.wait({process.dead}, timeout=CLOSED_GRACE_S)
        if process.dead.done() and (not waiting.done() or isinstance(unreached, KernelDied)):
            raise ended(process.dead.result()) from unreached
        if isinstance(unreached, KernelDied):
            raise KernelStartFailed(unreached.message) from unreached
        return waiting.result()
    finally:
        waiting.cancel()
