"""A real fork server at its limits, and started by somebody who ignores and blocks signals."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement.forked import ForkServer, default_python
from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import SessionDriver, fork_server_of, open_registry

pytestmark = pytest.mark.anyio


async def test_a_fork_server_at_its_limit_of_descriptors_fails_one_start_and_no_session(tmp_path: Path) -> None:
    """The start is told why; once there is room the next one succeeds, by the same fork server."""
    async with open_registry(tmp_path / "state", policy={"pool": {"spare_kernels": 0}}) as registry:
        first = await SessionDriver.open(registry)
        await first.ok("kept = 1")
        server = fork_server_of(registry)
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        highest = max(int(path.name) for path in Path(f"/proc/{server.pid}/fd").iterdir())
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        with pytest.raises(KernelStartFailed, match="Too many open files"):
            await open_several(registry)
        assert (await first.ok("kept")).result == "1"
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        await SessionDriver.open(registry)
        assert fork_server_of(registry) is server
        assert server.alive


async def test_a_fork_server_that_is_ready_writes_into_no_pipe(tmp_path: Path) -> None:
    """Nobody would read it; full, it would hold up every start."""
    async with open_registry(tmp_path / "state") as registry:
        await SessionDriver.open(registry)
        server = fork_server_of(registry)
        streams = {str(Path(f"/proc/{server.pid}/fd/{number}").readlink()) for number in (0, 1, 2)}
        assert streams == {os.devnull}
        assert server._child.stderr is not None
        assert server._child.stderr.closed


async def open_several(registry: Registry) -> None:
    """More than the fork server has descriptors for."""
    for _ in range(8):
        await SessionDriver.open(registry)


@contextmanager
def ignored_and_blocked(*numbers: signal.Signals) -> Iterator[None]:
    """As a process that `nohup` or a CI runner started."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, action in before.items():
            signal.signal(number, action)


async def test_what_signals_a_fork_server_inherits_as_ignored_or_blocked_changes_nothing(tmp_path: Path) -> None:
    """It ignores the interrupt, which is meant for a kernel, and what Python always ignores; it blocks nothing."""
    policy = Path(__file__).parents[3] / "kernelspecs" / "rlm-python" / "policy.json"
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGHUP)
    with ignored_and_blocked(*numbers):
        server = await ForkServer.start(default_python(), policy)
    try:
        lines = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii").splitlines()
    finally:
        server.stop()
    facts = dict(line.split(":\t") for line in lines if line.startswith("Sig") and not line.startswith("SigQ"))
    always = {signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ}
    assert int(facts["SigBlk"], 16) == 0
    assert int(facts["SigIgn"], 16) == sum(1 << (number - 1) for number in always)
