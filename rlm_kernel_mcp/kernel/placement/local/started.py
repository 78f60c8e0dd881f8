"""A kernel's process on this machine, with the two sockets that the host has to it.

Is: the sockets' making, both ends, and what a start gives back (`base.StartedKernel`) over a process with a pidfd.
Is not: how the process comes to be. Above: the placements. Below: `process.py`, `startup_status.py`.
"""

from __future__ import annotations

import array
import socket
from collections.abc import Callable
from typing import Any

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement.local.process import KernelProcess
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket
from rlm_kernel_mcp.wire import FOR_CONTROL, FOR_SHELL

Rows = list[dict[str, Any]]


class Ends:
    """Both ends of a kernel's status socket, and of the socket on which it takes descriptors, while it is started."""

    def __init__(self) -> None:
        """Make them.

        Raises:
            KernelStartFailed: they cannot be made.
        """
        try:
            self.status = StatusSocket()
            try:
                self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            except OSError:
                self.status.close()
                raise
        except OSError as error:
            raise KernelStartFailed(f"The kernel's sockets cannot be made: {error.strerror}.") from error
        self._ours.shutdown(socket.SHUT_RD)  # this socket carries descriptors one way; nothing is ever read here
        self._ours.setblocking(False)

    def kernel(self, process: KernelProcess, name_rows: Callable[[Rows], Rows] = list) -> LocalKernel:
        """The kernel, which has its ends by now. `name_rows`: what is done with the rows of its walls."""
        self.theirs.close()
        return LocalKernel(process, self.status, self._ours, name_rows)

    def pass_descriptor(self, descriptor: int) -> None:
        """Hand over an open file for the next request on control, while these are open. Raises: OSError."""
        _pass(self._ours, descriptor, FOR_CONTROL)

    def close(self) -> None:
        """Close all of them."""
        for end in (self.status, self._ours, self.theirs):
            end.close()


def ends_of(taken: object) -> Ends:
    """What a placement of this machine took for a start (`Order.taken`), with its real type."""
    assert isinstance(taken, Ends)
    return taken


class LocalKernel:
    """`base.StartedKernel` on this machine."""

    def __init__(
        self,
        process: KernelProcess,
        status: StatusSocket,
        descriptors: socket.socket,
        name_rows: Callable[[Rows], Rows] = list,
    ) -> None:
        """`status`: closed by the process's end. `descriptors`: the host's end. `name_rows`: as for `Ends.kernel`."""
        self.process = process
        self._status = status
        self._descriptors = descriptors
        self._name_rows = name_rows

    async def ready(self) -> Rows:
        """The rows of the walls. Raises: as `StatusSocket.wait_ready`."""
        rows = await self._status.wait_ready()
        self.process.weigh_by(self._status.take_weight())
        return self._name_rows(rows)

    def pass_descriptor(self, descriptor: int, *, shell: bool = False) -> None:
        """Hand over an open file. Raises: OSError."""
        _pass(self._descriptors, descriptor, FOR_SHELL if shell else FOR_CONTROL)

    def abandon(self) -> None:
        """End a process that nobody waits for any more."""
        self._status.nobody_waits()
        self.process.kill()

    def close(self) -> None:
        """Close the sockets; a process that outlives its kill keeps its status socket, by which its end is reported."""
        self._descriptors.close()
        if self.process.dead.done():
            self._status.close()


def _pass(ours: socket.socket, descriptor: int, whose: bytes) -> None:
    ours.sendmsg([whose], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])
