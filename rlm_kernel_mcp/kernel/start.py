"""One start of a kernel, from the manager's call to a kernel that answers, and its undoing where it comes to nothing.

Is: jupyter_client's way to a process, our own readiness test, and what has been taken so far. Is not: which kernel is
started, or where (`starter.py`). Above: `starter.py`. Below: jupyter_client's manager,
`kernel/placement/provisioner.py`, `client.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, cast

from jupyter_client.manager import AsyncKernelManager

from rlm_kernel_mcp.errors import KernelDied, KernelStartFailed
from rlm_kernel_mcp.kernel.client import CLOSED_GRACE_S, KernelClient
from rlm_kernel_mcp.kernel.placement.base import HostPlacement, HostProcess, Order, StartedKernel
from rlm_kernel_mcp.kernel.placement.local.process import describe_exit
from rlm_kernel_mcp.kernel.placement.local.startup_status import ended
from rlm_kernel_mcp.kernel.placement.provisioner import RlmProvisioner
from rlm_kernel_mcp.wire import INFO

log = logging.getLogger(__name__)
DEATH_S: Final = 20.0
"""How long a killed process may take to be gone: its memory is freed, its container is removed."""
T = TypeVar("T")


class Launch(AsyncKernelManager):
    """jupyter_client's way from a kernelspec to a process, and no further.

    The manager's own connection to the control channel is left out: libzmq would hold whatever a hostile kernel sends.
    """

    @property
    def started(self) -> StartedKernel | None:
        """What the placement gave back, as soon as there is a process."""
        started = self.provisioner.started if isinstance(self.provisioner, RlmProvisioner) else None
        return cast(StartedKernel | None, started)  # our own host gave the order, so it is one of its placements

    def how_ended(self) -> str:
        """How its process ended, as the rest of a sentence; empty where it has not."""
        code = None if self.started is None else self.started.process.poll()
        return "" if code is None else describe_exit(code)

    def _connect_control_socket(self) -> None:
        """Connect to nothing: `client.py` does, within bounds."""

    def write_connection_file(self, **kwargs: Any) -> None:
        """Leave it to the builder, which writes the same one for every client's kernel."""

    def cleanup_connection_file(self) -> None:
        """Leave it: this object is dropped once the kernel runs, and a console attaches by that file."""


class Begun:
    """A start that has begun: what it has taken so far, to be given back where it comes to nothing."""

    def __init__(self, manager: Launch, order: Order, placement: HostPlacement) -> None:
        """`placement`: the order's."""
        self._manager = manager
        self._order = order
        self._placement = placement
        self._client = KernelClient(manager.session.key)
        self._launching: asyncio.Task[None] | None = None

    async def launch(self) -> StartedKernel:
        """Have the process started, in a task of its own: one that was asked for must become known, to be ended."""
        self._launching = asyncio.ensure_future(self._manager.start_kernel(order=self._order))
        await asyncio.shield(self._launching)
        started = self._manager.started
        assert started is not None
        return started

    async def connect(self) -> KernelClient:
        """Our own readiness test: shell and control answer and iopub has welcomed us."""
        await self._client.open(dict(self._manager.get_connection_info()))
        await self._client.request("kernel_info_request", {}, shell=True)
        await self._client.request(INFO, {})  # a session begins on control: one that is mute is none of a spare's
        return self._client

    async def undo(self, waited: bool) -> None:
        """Give everything back. `waited`: a process that has not said who it is has had its time to do so."""
        self._client.close()
        if self._launching is not None:
            if not waited and (within_s := self._placement.named_within_s):
                await asyncio.wait({self._launching}, timeout=within_s)
            self._launching.cancel()
            await asyncio.wait({self._launching}, timeout=DEATH_S)
            if self._launching.done() and not self._launching.cancelled():
                self._launching.exception()  # read: `launch` has raised it, or nobody waits for it
        # The manager's own: it sleeps for a while after it has started the process, and may be cut off there.
        started = self._manager.started
        if started is not None:
            started.abandon()
        died = started is None or await gone(started.process)
        if started is not None:
            started.close()
        if self._order.taken is not None:
            self._order.taken.close()
        if died:  # else it may still write there
            self._order.directories.remove()


async def gone(process: HostProcess) -> bool:
    """Wait for the death of a killed process, as long as that can take; whether it has died."""
    await asyncio.wait({process.dead}, timeout=DEATH_S)
    if not process.dead.done():
        log.error("kernel process %d was killed, and is still there after %.0f s", process.pid, DEATH_S)
    return process.dead.done()


async def unless_dead(process: HostProcess, step: Coroutine[Any, Any, T]) -> T:
    """The result of one part of a start, unless the kernel ends first.

    Raises:
        KernelStartFailed: the kernel ended before, or cannot be reached; and what the step raises.
    """
    waiting = asyncio.ensure_future(step)
    try:
        waits: list[asyncio.Future[Any]] = [waiting, process.dead]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        unreached = waiting.exception() if waiting.done() else None
        if isinstance(unreached, KernelDied):  # a process that dies closes its sockets first, and its end explains more
            await asyncio.wait({process.dead}, timeout=CLOSED_GRACE_S)
        if process.dead.done() and (not waiting.done() or isinstance(unreached, KernelDied)):
            raise ended(process.dead.result()) from unreached
        if isinstance(unreached, KernelDied):
            raise KernelStartFailed(unreached.message) from unreached
        return waiting.result()
    finally:
        waiting.cancel()
