"""What a starting kernel tells its host, on a socket that it closes before any user code runs.

Is: the host's end: the kernel's pid with a pidfd, then `ready` with the walls that hold, or `failed` with the reason.
Is not: a channel to a running kernel. Above: the placements. Below: `process.py`. Each datagram is one JSON object:
`{pid}` (+ a pidfd), `{status: "weight"}` (+ the file that sets its session's, where there is one), `{status: "ready",
walls}`, `{status: "failed", wall, reason, remedy}`, and from a fork server `{exit: code}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import resource
import signal
import socket
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelStartFailed, SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.local.process import EXIT_UNKNOWN, describe_exit, wait_readable
from rlm_kernel_mcp.text.printable import printable

DATAGRAM_BYTES: Final = 64 * 1024
EXIT_WAIT_S: Final = 1.0
REASON_CHARS: Final = 1_000
TRACEBACK_CHARS: Final = 4_000
WITHOUT_A_WORD: Final = "The kernel's process ended before it was ready."
_DIRECTORIES: Final = re.compile(r"(?<![\w.~])(?:/[\w.+@~-]+)+/(?=[\w.+@~-])")
"""The directories of a path: an error shows no path of this machine; the log has them."""
log = logging.getLogger(__name__)


class StatusSocket:
    """The host's end of one kernel's status socket."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._exit: int | None = None
        self._weight = -1
        self._started = asyncio.Event()
        """Nobody waits for `ready` any more: only one may read at a time."""

    def close_theirs(self) -> None:
        """Call once the child has its copy."""
        self.theirs.close()

    async def receive(self) -> tuple[dict[str, Any], int | None]:
        """The next message and the descriptor that came with it.

        Raises:
            KernelStartFailed: the kernel went away without a word.
        """
        await wait_readable(self._ours.fileno())
        data, descriptors, _, _ = socket.recv_fds(self._ours, DATAGRAM_BYTES, 1)
        if not data:
            raise KernelStartFailed(WITHOUT_A_WORD)
        # From a process that has run no user code yet, so this is not hostile.
        message = json.loads(data)
        if message.get("status") == "weight":  # before or after the pid, which another process may send
            self._close_weight()
            self._weight = descriptors[0] if descriptors else -1
            return await self.receive()
        return message, descriptors[0] if descriptors else None

    async def wait_pid(self) -> tuple[int, int]:
        """The kernel's own pid in the host's eyes, and its pidfd.

        Raises:
            SandboxUnavailable, KernelStartFailed: it failed or ended; or the host has no descriptor left to hold it by.
        """
        while True:
            message, descriptor = await self.receive()
            _raise_failure(message)
            if "pid" in message:
                if descriptor is None:  # the system drops what it has no room for
                    raise _no_descriptor()
                return int(message["pid"]), descriptor
            if "exit" in message:
                raise ended(message["exit"])

    async def wait_ready(self) -> list[dict[str, Any]]:
        """The rows of the walls, once the kernel is ready.

        Raises:
            SandboxUnavailable: a required wall cannot be raised.
            KernelStartFailed: anything else went wrong.
        """
        try:
            while True:
                message, _ = await self.receive()
                _raise_failure(message)
                if message.get("status") == "ready":
                    walls: list[dict[str, Any]] = message["walls"]
                    return walls
                if "exit" in message:
                    self._exit = int(message["exit"])
                    raise ended(self._exit)
        finally:
            self._started.set()

    async def exit_code(self) -> int:
        """What the fork server says of the exit; waits a moment for it, since the death itself is seen first."""
        try:
            async with asyncio.timeout(EXIT_WAIT_S):
                await self._started.wait()  # what it said before its end is left for whoever started it
                while self._exit is None:
                    message, _ = await self.receive()
                    if "exit" in message:
                        self._exit = int(message["exit"])
                return self._exit
        except (TimeoutError, KernelStartFailed):
            return EXIT_UNKNOWN  # the fork server is gone too, or slow
        finally:
            # Not under who still waits for `ready`: the loop would go on watching a number that is another's by then.
            if self._started.is_set():
                self.close()

    def take_weight(self) -> int:
        """The file that sets the weight of the kernel's session, once it is ready; -1 where there is none.

        It is the caller's from now on.
        """
        weight, self._weight = self._weight, -1
        return weight

    def nobody_waits(self) -> None:
        """The start was given up before anybody asked for `ready`: the exit need not wait for that."""
        self._started.set()

    def disown(self) -> None:
        """Nobody waits for this kernel any more: kill it if it has said who it is; else it will end by itself."""
        with contextlib.suppress(BlockingIOError, ConnectionError):  # it has said nothing so far
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._ours, DATAGRAM_BYTES, 1)
                if not data:
                    break
                is_process = "pid" in json.loads(data)
                for descriptor in descriptors:
                    with contextlib.suppress(ProcessLookupError):  # it ended by itself
                        if is_process:
                            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    os.close(descriptor)
        self.close()

    def close(self) -> None:
        """Close both ends."""
        self._ours.close()
        self.theirs.close()
        self._close_weight()

    def _close_weight(self) -> None:
        if (weight := self.take_weight()) >= 0:
            os.close(weight)


def ended(code: int) -> KernelStartFailed:
    """Why there is no kernel, judged by the exit code of its process."""
    return KernelStartFailed(f"The kernel's process {describe_exit(code)} before it was ready.")


def _no_descriptor() -> KernelStartFailed:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return KernelStartFailed(
        f"The server has no descriptor left for another kernel (its limit is {limit:,} open files).",
        "Finalize sessions that are done, or tell the user to raise the server's limit of open files (ulimit -n).",
    )


def _raise_failure(message: dict[str, Any]) -> None:
    if message.get("status") != "failed":
        return
    if message.get("traceback"):
        lines = str(message["traceback"])[:TRACEBACK_CHARS].splitlines()
        log.error("a kernel could not start:\n%s", "\n".join(map(printable, lines)))
    reason = without_directories(str(message.get("reason", ""))).rstrip(".")
    remedy = message.get("remedy")
    if message.get("wall"):
        raise SandboxUnavailable(f"The wall {message['wall']!r} cannot be raised: {reason}.", remedy or None)
    raise KernelStartFailed(f"The kernel could not start: {reason}.", remedy or None)


def without_directories(text: str) -> str:
    """The beginning of a text, printable and without the directories of the files that it names."""
    return printable(_DIRECTORIES.sub("", text[:REASON_CHARS]))[:REASON_CHARS]
