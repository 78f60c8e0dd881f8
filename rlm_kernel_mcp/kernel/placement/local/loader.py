"""A loader's process on this machine: a socket to it, and a pidfd by which it is ended.

Is: what the host's thread that reads a context has of the process that does it. Is not: what they say to each other
(`context/loader/`). Above: `forked.py`. Below: the operating system.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket

END_MS: Final = 2_000
"""How long the system may take to end a process; no code of it runs any more before that."""


class LoaderProcess:
    """One loader, alive until `close`. Used in one thread at a time, whichever."""

    def __init__(self) -> None:
        """Make the sockets.

        Raises:
            KernelStartFailed: they cannot be made.
        """
        self.pid = self._pidfd = -1
        self.walls: list[dict[str, Any]] = []
        """The rows of its walls, as a kernel's."""
        self._closed = False
        try:
            self.status = StatusSocket()
            try:
                self.control, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            except OSError:
                self.status.close()
                raise
        except OSError as error:
            raise KernelStartFailed(f"The sockets of a loader cannot be made: {error.strerror}.") from error

    async def ready(self) -> None:
        """Wait until its walls stand. Raises: as `StatusSocket.wait_ready`."""
        self.status.close_theirs()
        self.theirs.close()
        self.pid, self._pidfd = await self.status.wait_pid()
        self.walls = await self.status.wait_ready()

    def close(self) -> None:
        """End it, whatever it does, and wait for its end. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.control.close()
        self.theirs.close()
        if self._pidfd < 0:  # it has not said who it is
            self.status.disown()
            return
        self.status.close()
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(END_MS)
        os.close(self._pidfd)
