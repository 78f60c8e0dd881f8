"""The host's end of the fork server: a preloaded, single-threaded process that forks kernels.

Is: start it, ask it for forks, notice its death. Is not: the server program (`in_kernel/fork_server.py`), and never
this process: a fork of the host would take its secrets and descriptors along. Above: `kernel/starter.py`. Below:
nothing. One datagram a kernel: `{argv, env, cwd}` with the kernel's ends of its status and descriptor sockets.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import KernelStartFailed

ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",  # an arena a thread would take 64 MB of address space each
    # Freed chunks that a thread's cache keeps would pin the top of the heap, and all that was freed below it.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    "OPENBLAS_NUM_THREADS": "1",  # a numeric library's threads would start before the walls, which want one
    "OMP_NUM_THREADS": "1",
}
"""What a kernel and the fork server have in common; nothing of the host's."""
MODULE: Final = "rlm_kernel_mcp.in_kernel.fork_server"


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
        self, arguments: Sequence[str], env: dict[str, str], cwd: str, status: socket.socket, descriptors: socket.socket
    ) -> None:
        """Ask for one kernel; it announces itself on the status socket.

        Raises:
            KernelStartFailed: the fork server is gone.
        """
        request = json.dumps({"argv": list(arguments), "env": env, "cwd": cwd}).encode()
        try:
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
