"""A loader's process on this machine: a socket to it, and a pidfd by which it is ended.

Is: what the host's thread that reads a context has of the process that does it. Is not: what they say to each other
(`context/loader/`). Above: `forked.py`. Below: the operating system.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import unusable
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket

END_MS: Final = 2_000
"""How long the system may take to end a process; no code of it runs any more before that."""


class LoaderProcess:
    """One loader, alive until `close`. Used in one thread at a time, whichever."""

    def __init__(self, run_dir: Path) -> None:
        """Make the sockets, and below `run_dir` its directories.

        Raises:
            KernelStartFailed: they cannot be made.
        """
        self.pid = self._pidfd = -1
        self.walls: list[dict[str, Any]] = []
        """The rows of its walls, as a kernel's."""
        self._closed = False
        try:
            self._directory = Path(tempfile.mkdtemp(prefix="loader-", dir=run_dir))
        except OSError as error:
            raise unusable("A loader's directory cannot be made", error) from error
        self.directories = self._directory / "w", self._directory / "c"
        """Scratch and sockets, as a kernel's: there is nothing in either."""
        try:
            for path in self.directories:
                path.mkdir(mode=0o700)
            self.status = StatusSocket()
            try:
                self.control, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            except OSError:
                self.status.close()
                raise
        except OSError as error:
            self._remove()
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
            self._remove()
            return
        self.status.close()
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(END_MS)
        os.close(self._pidfd)
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
