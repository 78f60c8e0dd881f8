"""One start of a kernel, from the manager's call to a kernel that answers, and its undoing where it comes to nothing.

Is: jupyter_client's way to a process, our own readiness test, and what has been taken so far. Is not: which kernel is
started (`starter.py`). Above: `starter.py`. Below: jupyter_client's manager, `kernel/placement/provisioner.py`,
`client.py`, `kernel/placement/local/startup_status.py`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from jupyter_client.manager import AsyncKernelManager

from rlm_kernel_mcp.errors import KernelDied, KernelStartFailed
from rlm_kernel_mcp.kernel.client import CLOSED_GRACE_S, KernelClient
from rlm_kernel_mcp.kernel.placement.local.process import KernelProcess
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket, ended
from rlm_kernel_mcp.kernel.placement.provisioner import LaunchOptions, RlmProvisioner
from rlm_kernel_mcp.kernel.placement.run_dir import KernelDir

log = logging.getLogger(__name__)
DEATH_S: Final = 20.0
"""How long a killed process may take to be gone: its memory is given back, its container is removed."""
NAME_S: Final = 2.0
"""How long a kernel that nobody waits for any more may take to say who it is, so that it can be ended."""
T = TypeVar("T")


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

    def write_connection_file(self, **kwargs: Any) -> None:
        """Leave it to the builder, which writes the same one for every client's kernel."""

    def cleanup_connection_file(self) -> None:
        """Leave it: this object is dropped once the kernel runs, and a console attaches by that file."""


class Begun:
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


def sockets() -> tuple[StatusSocket, socket.socket, socket.socket]:
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


async def unless_dead(process: KernelProcess, step: Coroutine[Any, Any, T]) -> T:
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
