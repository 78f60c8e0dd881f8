"""What a starting kernel tells its host, on a socket that it closes before any user code runs.

Is: the host's end: the kernel's pid with a pidfd, then `ready` with the walls that hold, or `failed` with the reason.
Is not: a channel to a running kernel. Above: `provisioner.py`. Below: `process.py`. Each datagram is one JSON object:
`{pid}` (+ a pidfd), `{status: "ready", walls}`, `{status: "failed", wall, reason, remedy}`, and from a fork server
`{exit: code}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelStartFailed, SandboxUnavailable
from rlm_kernel_mcp.kernel.process import EXIT_UNKNOWN, readable

DATAGRAM_BYTES: Final = 64 * 1024
EXIT_WAIT_S: Final = 1.0


class StatusSocket:
    """The host's end of one kernel's status socket."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)

    def close_theirs(self) -> None:
        """Call once the child has its copy."""
        self.theirs.close()

    async def receive(self) -> tuple[dict[str, Any], int | None]:
        """The next message and the descriptor that came with it.

        Raises:
            KernelStartFailed: the kernel went away without a word.
        """
        await readable(self._ours.fileno())
        data, descriptors, _, _ = socket.recv_fds(self._ours, DATAGRAM_BYTES, 1)
        if not data:
            raise KernelStartFailed("The kernel's process ended before it was ready.")
        message = json.loads(data)
        return message, descriptors[0] if descriptors else None

    async def wait_pid(self) -> tuple[int, int]:
        """The kernel's own pid in the host's eyes, and its pidfd."""
        while True:
            message, descriptor = await self.receive()
            _raise_failure(message)
            if "pid" in message and descriptor is not None:
                return int(message["pid"]), descriptor

    async def wait_ready(self) -> list[dict[str, Any]]:
        """The rows of the walls, once the kernel is ready.

        Raises:
            SandboxUnavailable: a required wall cannot be raised.
            KernelStartFailed: anything else went wrong.
        """
        while True:
            message, _ = await self.receive()
            _raise_failure(message)
            if message.get("status") == "ready":
                walls: list[dict[str, Any]] = message["walls"]
                return walls

    async def exit_code(self) -> int:
        """What the fork server says of the exit; waits a moment for it, since the death itself is seen first."""
        try:
            async with asyncio.timeout(EXIT_WAIT_S):
                while True:
                    message, _ = await self.receive()
                    if "exit" in message:
                        return int(message["exit"])
        except (TimeoutError, KernelStartFailed):
            return EXIT_UNKNOWN  # the fork server is gone too
        finally:
            self.close()

    def disown(self) -> None:
        """Nobody waits for this kernel any more: kill it if it has said who it is; else it ends when it wants to."""
        with contextlib.suppress(BlockingIOError, ConnectionError):  # nothing said so far
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._ours, DATAGRAM_BYTES, 1)
                for descriptor in descriptors:
                    with contextlib.suppress(ProcessLookupError):  # it ended by itself
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    os.close(descriptor)
                if not data:
                    break
        self.close()

    def close(self) -> None:
        """Close both ends."""
        self._ours.close()
        self.theirs.close()


def _raise_failure(message: dict[str, Any]) -> None:
    if message.get("status") != "failed":
        return
    reason, remedy = str(message.get("reason", "")).rstrip("."), message.get("remedy")
    if message.get("wall"):
        raise SandboxUnavailable(f"The wall {message['wall']!r} cannot be raised: {reason}.", remedy or None)
    raise KernelStartFailed(f"The kernel could not start: {reason}.", remedy or None)
