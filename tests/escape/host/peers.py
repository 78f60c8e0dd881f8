"""A session whose kernel is a program of ours that speaks the wire badly, and what it costs the host.

Is: the project's own session layer, with a peer in the kernel's place that no interpreter restrains. Is not: a real
kernel (`tests/escape/kernels/`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.kernel.client import KernelClient
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.placement.local.process import KernelProcess
from rlm_kernel_mcp.kernel.placement.local.started import LocalKernel
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket
from rlm_kernel_mcp.session.registry import Registry
from tests.processes import bounded_growth
from tests.sessions import WAIT_S, SessionDriver

PROGRAM: Final = Path(__file__).with_name("program") / "fake_kernel.py"
MB: Final = 1 << 20


@asynccontextmanager
async def peer(registry: Registry, behaviour: str, variable: bytes = b"") -> AsyncIterator[SessionDriver]:
    """A session with such a peer. `variable`: what it answers to `rlm_get_var`, a line of JSON and the raw rest."""
    directories = registry._run_dir.kernel_dir()
    program = subprocess.Popen(  # noqa: ASYNC220 - as the provisioner starts kernels
        [sys.executable, "-I", str(PROGRAM), directories.socket_stem, behaviour],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            await asyncio.to_thread(program.stdin.write, variable)
            program.stdin.close()
            assert await asyncio.to_thread(program.stdout.readline) == b"bound\n"
            ours, theirs = socket.socketpair()
            with theirs:
                ours.setblocking(False)
                process = KernelProcess(program.pid, os.pidfd_open(program.pid), lambda: _reap(program))
                client = KernelClient(b"key")
                ports = {"shell_port": 1, "iopub_port": 2, "control_port": 5}
                async with asyncio.timeout(WAIT_S):
                    await client.open({"ip": directories.socket_stem, **ports})
                kernel = Kernel.joined(LocalKernel(process, StatusSocket(), ours), client, directories, [])
                registry._pool._spares.appendleft((asyncio.get_running_loop().time(), kernel))
                driver = await SessionDriver.open(registry)
                assert driver.kernel is kernel
                yield driver
                await driver.finalize(text="done")
        finally:
            program.kill()


async def _reap(program: subprocess.Popen[bytes]) -> int:
    return program.wait()  # it has ended already


def bounded_memory(limit_mb: int) -> AbstractContextManager[None]:
    """At no moment within may this process be larger than at the beginning by more than this."""
    return bounded_growth(os.getpid(), limit_mb)
