"""A real fork server at its limits and at the server's end, and started by somebody who ignores and blocks signals."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement import forked
from rlm_kernel_mcp.kernel.placement.builder import effective_policy
from rlm_kernel_mcp.kernel.placement.forked import ForkServer, default_python
from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import load_settings
from tests.sessions import WAIT_S, SessionDriver, fork_server_of, open_registry, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("started_fork_servers")]


async def test_a_fork_server_at_its_limit_of_descriptors_fails_one_start_and_no_session(tmp_path: Path) -> None:
    """The start is told why; once there is room the next one succeeds, by the same fork server."""
    async with open_registry(tmp_path / "state", policy={"pool": {"spare_kernels": 0}}) as registry:
        first = await SessionDriver.open(registry)
        await first.ok("kept = 1")
        server = fork_server_of(registry)
        await until_it_waits(server)
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


async def until_it_waits(server: ForkServer) -> None:
    """Until it has closed what the last request brought, which it does behind the fork, and waits for the next."""
    asked = Path(f"/proc/{server.pid}/status")
    await until(lambda: "State:\tS" in asked.read_text(encoding="ascii"))


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


THREADED: Final = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
MAIN: Final = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from rlm_kernel_mcp.in_kernel.fork_server import main
main()
"""


def test_a_fork_server_refuses_to_serve_with_a_second_thread_and_names_the_module_that_started_it(
    tmp_path: Path,
) -> None:
    """Its locks would be held for ever in each fork. The last line is what the host reads."""
    (tmp_path / "with_a_thread.py").write_text(THREADED)
    policy = json.loads((locked_kernelspec("rlm-python") / "policy.json").read_text(encoding="utf-8"))
    policy["imports"]["preload"].append("with_a_thread")
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    argv = [sys.executable, "-c", MAIN, str(tmp_path), "--policy", str(tmp_path / "policy.json")]
    done = subprocess.run(
        [*argv, "--parent", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "importing 'with_a_thread' left this process with 2 threads" in done.stderr.splitlines()[-1]


@pytest.mark.slow
async def test_an_end_does_not_wait_for_a_fork_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a busy machine a fork may take seconds to come about, and a server that is told to end has less than two."""
    monkeypatch.setattr(forked, "NAME_S", 10 * WAIT_S)
    async with open_registry(tmp_path / "state") as registry:
        assert registry._pool._filling is not None
        await asyncio.wait({registry._pool._filling})
        server = fork_server_of(registry)
        os.kill(server.pid, signal.SIGSTOP)
        asked = asyncio.Event()
        monkeypatch.setattr(server, "fork", told_by(asked, server.fork))
        session = await SessionDriver.open(registry)  # has the spare, in whose place another is started
        async with asyncio.timeout(WAIT_S):
            await asked.wait()
        await session.finalize(text="an end that needs no fork server")
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert not registry._pool._spares
    assert not server.alive
    assert not registry._run_dir.path.exists()


def told_by(asked: asyncio.Event, fork: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def fork_and_tell(*arguments: object) -> None:
        await fork(*arguments)
        asked.set()

    return fork_and_tell


@pytest.mark.slow
async def test_a_fork_server_that_is_ready_only_when_the_server_ends_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was started again, since the first had ended, is none for the start that waited for it, or the next."""
    start, begun, go_on, made = ForkServer.start, asyncio.Event(), asyncio.Event(), list[ForkServer]()

    async def slowly(*arguments: Any) -> ForkServer:
        made.append(await start(*arguments))
        begun.set()
        await go_on.wait()
        return made[-1]

    monkeypatch.setattr(ForkServer, "start", slowly)
    placement = forked.ForkedPlacement(
        tmp_path, effective_policy(locked_kernelspec("rlm-python"), load_settings(Path.cwd(), {}).of_kernel())
    )
    waiting = [asyncio.ensure_future(placement._ready_fork_server()) for _ in range(2)]
    async with asyncio.timeout(WAIT_S):
        await begun.wait()
        placement.stop()
        go_on.set()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [KernelStartFailed] * 2
    assert [one.alive for one in made] == [False]
