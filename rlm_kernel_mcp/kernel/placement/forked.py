"""The forked placement: kernels are forked by the fork server, a preloaded, single-threaded process.

Is: the host's end of that process: start it, ask it for forks, notice its death; and a cold start where it cannot be
had. Is not: the server program (`in_kernel/fork_server.py`), and never this process: a fork of the host would take its
secrets and descriptors along. Above: `choice.py`. Below: `base.py`, `cold.py`, `local/`. One datagram a kernel:
`{argv, env, cwd}` with the kernel's ends of its status and descriptor sockets.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelStartFailed, RlmError, SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.base import Command, HostPlacement, Order
from rlm_kernel_mcp.kernel.placement.cold import ColdPlacement
from rlm_kernel_mcp.kernel.placement.local.loader import LoaderProcess
from rlm_kernel_mcp.kernel.placement.local.process import KernelProcess
from rlm_kernel_mcp.kernel.placement.local.started import Ends, LocalKernel, ends_of
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket
from rlm_kernel_mcp.policy import Policy

log = logging.getLogger(__name__)
STARTS_MAX: Final = 2
"""Kernels that are started at a time: thirty at once take every processor, and a mere read waits as long as they do."""
NAME_S: Final = 2.0
"""How long a kernel that nobody waits for any more may take to say who it is, so that it can be ended."""

ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",  # an arena for each thread would take 64 MB of address space
    # Freed chunks in a thread's cache would pin the top of the heap, and with it all that was freed below.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    "OPENBLAS_NUM_THREADS": "1",  # a numeric library's threads would start before the walls, which need a single thread
    "OMP_NUM_THREADS": "1",  # pyarrow takes it as the number of its processors
    "MKL_NUM_THREADS": "1",
    # pyarrow's own allocators reserve a gigabyte of address space at a time, which the limit of memory counts.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "ARROW_IO_THREADS": "2",
}
"""The environment that kernels and the fork server share; nothing of it is the host's."""
MODULE: Final = "rlm_kernel_mcp.in_kernel.fork_server"


class ForkedPlacement:
    """`base.HostPlacement` by a fork server, which is started when it is first needed and again where it has ended."""

    starts_max = STARTS_MAX

    def __init__(self, run_dir: Path, policy: Policy) -> None:
        """`run_dir`: the server's, in which the fork server finds its policy."""
        self._policy_file = run_dir / "policy.json"
        self._policy = policy
        self._cold = ColdPlacement()
        self._lock = asyncio.Lock()
        self._stopped = False
        self.fork_server: ForkServer | None = None
        """None until it is needed, and where it is not available: kernels start cold then."""

    @property
    def named_within_s(self) -> float:
        """A fork that was asked for happens, whether or not anybody waits for it; it ends with the fork server."""
        return NAME_S if self.fork_server is not None and self.fork_server.alive else 0

    async def take(self) -> Ends:
        """The sockets. The fork server's own start counts as part of the start of the first kernel that needs it."""
        return Ends()

    async def start(self, order: Order, command: Command) -> LocalKernel:
        """Fork a kernel. Raises: SandboxUnavailable, KernelStartFailed."""
        fork_server = await self._ready_fork_server()
        if fork_server is None:
            return await self._cold.start(order, command)
        ends = ends_of(order.taken)
        await fork_server.fork(command.arguments, command.environment, command.cwd, ends.status.theirs, ends.theirs)
        return ends.kernel(await _named(ends.status))

    async def loader(self, file_mb: int, cpu_s: int, value_mb: int = 0) -> LoaderProcess | None:
        """A process that reads a context, behind walls. Raises: SandboxUnavailable, KernelStartFailed."""
        fork_server = await self._ready_fork_server()
        if fork_server is None:
            return None
        process = LoaderProcess(self._policy_file.parent)
        scratch, sockets = map(str, process.directories)
        asked = {"scratch": scratch, "sockets": sockets, "file_mb": file_mb, "cpu_s": cpu_s, "value_mb": value_mb}
        arguments = ["-f", "none", "--policy", str(self._policy_file), "--scratch", scratch]
        try:
            async with asyncio.timeout(self._policy.start_timeout_ms / 1000):
                await fork_server.fork(arguments, ENVIRONMENT, "/", process.status.theirs, process.theirs, loader=asked)
                await process.ready()
        except TimeoutError:
            process.close()
            raise KernelStartFailed("The process that reads contexts was not ready in time.") from None
        except BaseException:
            process.close()
            raise
        return process

    async def _ready_fork_server(self) -> ForkServer | None:
        """The fork server, started (again) where it is not running; None where there is none: kernels start cold.

        Raises:
            KernelStartFailed: the server is ending.
        """
        async with self._lock:
            self._refuse_when_stopped()
            if self.fork_server is not None and self.fork_server.alive:
                return self.fork_server
            if self.fork_server is not None:
                log.warning("the fork server ended; starting another")
                self._end_fork_server()
            self._policy_file.write_text(self._policy.model_dump_json(), encoding="utf-8")
            try:
                self.fork_server = await ForkServer.start(default_python(), self._policy_file)
            except RlmError as error:
                log.warning("kernels start cold: %s", error.message)
            self._refuse_when_stopped()  # it may have been stopped meanwhile
            return self.fork_server

    def _refuse_when_stopped(self) -> None:
        if self._stopped:
            self._end_fork_server()
            raise KernelStartFailed("The server is ending.")

    def fallback(self, why: SandboxUnavailable) -> tuple[HostPlacement, dict[str, Any]]:
        """There is none: walls that are missing here are missing on this machine."""
        raise why

    def stop(self) -> None:
        """Stop the fork server and start no other: what it was asked to fork ends with it, and need not be awaited."""
        self._stopped = True
        self._end_fork_server()

    def close(self) -> None:
        """Stop the fork server, and with it every kernel that is still there."""
        self.stop()

    def _end_fork_server(self) -> None:
        if self.fork_server is not None:
            self.fork_server.stop()
            self.fork_server = None


async def _named(status: StatusSocket) -> KernelProcess:
    """The process of a kernel that was asked for, as soon as it has said who it is."""
    # While this process has the kernel's end open, too, the end of a kernel that says nothing would not be seen.
    status.close_theirs()
    try:
        pid, pidfd = await status.wait_pid()
    except BaseException:
        status.disown()
        raise
    return KernelProcess(pid, pidfd, status.exit_code)


class ForkServer:
    """One running fork server. Its kernels die with it (parent-death signal)."""

    def __init__(self, child: subprocess.Popen[bytes], requests: socket.socket) -> None:
        self._child = child
        self._requests = requests

    @classmethod
    async def start(cls, python: str, policy_file: Path) -> ForkServer:
        """Start the process and wait until it has imported what kernels need.

        Raises:
            KernelStartFailed: it ended before it was ready.
        """
        # SEQPACKET: one request is one message, with the descriptors that came with it.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            child = subprocess.Popen(  # noqa: ASYNC220  (asyncio's would watch the child from a thread)
                [python, "-I", "-m", MODULE, "--policy", str(policy_file), "--parent", str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=ENVIRONMENT | {"HOME": "/"},  # without one Python would import what asks for it
                cwd="/",
                start_new_session=True,
            )
        server = cls(child, ours)
        try:
            answer = await asyncio.get_running_loop().sock_recv(ours, 64)
        except BaseException:
            server.stop()
            raise
        if answer != b"ready":
            child.kill()
            reason = child.communicate()[1].decode("utf-8", "replace").strip().rpartition("\n")[2]
            ours.close()
            raise KernelStartFailed(f"The fork server ended before it was ready: {reason[:500]}")
        assert child.stderr is not None
        child.stderr.close()  # the other end is the null device from here on
        return server

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    @property
    def pid(self) -> int:
        return self._child.pid

    async def fork(
        self,
        arguments: Sequence[str],
        env: dict[str, str],
        cwd: str,
        status: socket.socket,
        descriptors: socket.socket,
        loader: dict[str, Any] | None = None,
    ) -> None:
        """Ask for one kernel, or a loader (`in_kernel/loader/process.py`); it announces itself on the status socket.

        Raises:
            KernelStartFailed: the fork server is gone.
        """
        asked: dict[str, Any] = {"argv": list(arguments), "env": env, "cwd": cwd}
        request = json.dumps(asked if loader is None else asked | {"loader": loader}).encode()
        try:
            # Non-blocking: a fork server whose queue is full (EAGAIN) is stuck, and no start should wait for it.
            socket.send_fds(self._requests, [request], [status.fileno(), descriptors.fileno()])
        except OSError as error:
            what = "cannot be asked for a kernel" if self.alive else "is gone"
            raise KernelStartFailed(f"The fork server {what} ({error.strerror}).") from error

    def stop(self) -> None:
        """End it and, with it, every kernel that it forked."""
        self._requests.close()
        self._child.kill()
        self._child.wait()
        if self._child.stderr is not None:
            self._child.stderr.close()


def default_python() -> str:
    """The interpreter that runs kernels: ours."""
    return sys.executable
