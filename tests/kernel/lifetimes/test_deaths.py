"""Kernels that end: within a step, between steps, with the fork server, with the host."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.client import KernelClient
from rlm_kernel_mcp.kernel.placement import forked
from rlm_kernel_mcp.kernel.placement.forked import ForkServer
from rlm_kernel_mcp.kernel.placement.local.process import KernelProcess
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket
from rlm_kernel_mcp.session.registry import Registry
from tests.parts import ROOT, one_of_each
from tests.processes import command_lines_below, left_over
from tests.sessions import WAIT_S, SessionDriver, at_rest, fork_server_of, open_registry

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("started_fork_servers")]

DEATHS = {
    "exit status 3": ("os._exit(3)", "ended with exit status 3"),
    "exit status 0": ("os._exit(0)", "ended with exit status 0"),
    "a segmentation fault": ("ctypes.string_at(0)", "ended by SIGSEGV"),
    "a kill from outside": ("None", "ended by SIGKILL"),
}
"""What a kernel does on SIGUSR1, and how it ends."""


@pytest.mark.parametrize(("code", "reason"), DEATHS.values(), ids=DEATHS.keys())
async def test_a_kernel_that_dies_in_a_step_is_replaced_and_the_step_says_so(
    any_registry: Registry, code: str, reason: str
) -> None:
    """What had come of its output is kept, the reason is the true one, the context is back."""
    session = await SessionDriver.open(any_registry, "the context")
    await session.ok("kept = 1")
    await session.begin(
        "import ctypes, os, signal, time\n"
        f"signal.signal(signal.SIGUSR1, lambda *_: {code})\n"
        "print('begun', flush=True)\n"
        "while True: time.sleep(0.01)"
    )
    await session.until_printed("begun\n")  # libzmq sends from a thread of its own: what it still has dies with it
    session.kernel.process.send_signal(signal.SIGKILL if "SIGKILL" in reason else signal.SIGUSR1)
    report = await session.end_of(2)
    assert report.status == "kernel_died"
    assert report.stdout == "begun\n"
    assert report.lost is not None
    assert reason in report.lost.reason
    assert {"context", "documents", "scratch"} <= set(report.lost.restored)
    again = await session.ok("context")
    assert again.result == "'the context'"
    assert again.lost is None, "a loss is told once"
    (restored,) = [event for event in await session.trace("summary") if event.action == "restore"]
    assert reason in restored.summary


CUT_OFF = {
    "before the kernel has said who it is": (ForkServer, "fork"),
    "as its process is known": (forked, "_named"),
    "as it is ready": (StatusSocket, "wait_ready"),
    "as it is connected": (KernelClient, "open"),
}
"""After which part of a start nobody wants the kernel any more."""


@pytest.mark.parametrize("after", one_of_each(CUT_OFF, {"before the kernel has said who it is", "as it is connected"}))
async def test_a_start_that_is_cut_off_leaves_no_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: tuple[Any, str]
) -> None:
    """Wherever it is cut off: its end is seen before the start has failed, and its directories are gone."""
    owner, part = after
    made: list[KernelProcess] = []

    class Noted(KernelProcess):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    async with open_registry(tmp_path, policy={"pool": {"spare_kernels": 0}}) as registry:
        starter = registry._starter
        await (await starter.start()).kill()
        real, reached = getattr(owner, part), asyncio.Event()

        async def told(*arguments: Any) -> Any:
            try:
                return await real(*arguments)
            finally:
                reached.set()

        monkeypatch.setattr(owner, part, told)
        monkeypatch.setattr(forked, "KernelProcess", Noted)
        start = asyncio.create_task(starter.start())
        async with asyncio.timeout(WAIT_S):
            await reached.wait()
            start.cancel()
            await asyncio.wait({start})
        assert start.cancelled()
        assert all(process.dead.done() for process in made)
        assert [path for path in registry._run_dir.path.iterdir() if path.is_dir()] == []
        assert left_over(command_lines_below(fork_server_of(registry).pid), WAIT_S) == []


async def test_a_kernel_that_died_between_steps_is_replaced_before_the_next(session: SessionDriver) -> None:
    """The next step runs, and says what is gone; nothing is run again by itself."""
    await session.ok("class Kept: pass\nkept = 1")
    kernel = session.kernel
    kernel.process.kill()
    async with asyncio.timeout(WAIT_S):
        await asyncio.shield(kernel.dead)
    report = await session.ok("context")
    assert report.result == "'some text'"
    assert report.lost is not None
    assert "ended by SIGKILL" in report.lost.reason
    assert session.session.counters.step_index == 2


async def test_a_variable_can_be_asked_for_when_the_kernel_has_died_between_steps(session: SessionDriver) -> None:
    """The question brings a fresh kernel; the loss is told by the next step."""
    await session.ok("kept = 1")
    kernel = session.kernel
    kernel.process.kill()
    async with asyncio.timeout(WAIT_S):
        await asyncio.shield(kernel.dead)
    assert await session.value("context") == "some text"
    assert (await session.ok("1")).lost is not None


async def test_a_killed_fork_server_takes_its_kernels_along_and_every_session_is_told(tmp_path: Path) -> None:
    """Running and idle sessions, and the spare kernel; each gets a fresh one from another fork server."""
    async with open_registry(tmp_path) as registry:
        sessions = [await SessionDriver.open(registry, f"context {number}") for number in range(3)]
        for session in sessions:
            await session.ok("kept = 1")
        await sessions[0].begin("print('begun', flush=True)\nimport time\ntime.sleep(3600)")
        await sessions[0].until_printed("begun\n")
        fork_server = fork_server_of(registry)
        os.kill(fork_server.pid, signal.SIGKILL)
        running = await sessions[0].end_of(2)
        assert (running.status, running.stdout) == ("kernel_died", "begun\n")
        assert running.lost is not None
        assert set(running.lost.restored) >= {"context", "documents", "scratch"}
        for number, session in enumerate(sessions):
            report = await session.ok("context")
            assert report.result == f"'context {number}'"
            assert (report.lost is not None) == (number > 0)
        assert fork_server_of(registry).pid != fork_server.pid


async def test_where_no_fork_server_can_be_had_kernels_start_cold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower, and otherwise the same: steps, context, walls, death with its true reason, no process left."""

    async def refuse(python: str, policy_file: Path) -> ForkServer:
        raise KernelStartFailed("The fork server ended before it was ready: no such thing here")

    monkeypatch.setattr(ForkServer, "start", refuse)
    await at_rest()
    before = command_lines_below(os.getpid())
    async with open_registry(tmp_path, RLM_IMPORT_POLICY="any") as registry:
        session = await SessionDriver.open(registry, "the context")
        assert (await session.ok("context")).result == "'the context'"
        assert {wall["name"] for wall in session.kernel.walls} >= {"rlimits", "seccomp"}
        report = await session.run("import os\nos._exit(7)")
        assert report.lost is not None
        assert "exit status 7" in report.lost.reason
        below = {child: line for child, line in command_lines_below(os.getpid()).items() if child not in before}
        assert any("rlm_kernel_mcp.in_kernel" in line for line in below.values())
    assert left_over(below, WAIT_S) == []


@pytest.mark.parametrize("end", ["kill", pytest.param("end of input", marks=pytest.mark.slow)])
async def test_nothing_outlives_the_host(tmp_path: Path, short_dir: Path, end: str) -> None:
    """However it ends: the fork server, the kernels and their monitors go, and so does the run directory."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(short_dir)}
    host = subprocess.Popen(  # noqa: ASYNC220 - its pipes are read here, and it is killed on purpose
        [sys.executable, "-m", "tests.kernel.lifetimes.host_program", str(tmp_path / "state")],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with host:
        assert host.stdout is not None
        assert host.stdin is not None
        ready = json.loads(await asyncio.to_thread(host.stdout.readline))
        below = command_lines_below(host.pid)
        assert len(below) >= 4, "the fork server, two kernels and a spare one"
        kernel = psutil.Process(ready["kernel"])
        assert kernel in below
        if end == "kill":
            host.kill()
        else:
            host.stdin.close()
        await asyncio.to_thread(host.wait, WAIT_S)
        assert left_over(below, WAIT_S) == []
    assert list((short_dir / "rlm").iterdir()) == []


@pytest.mark.slow
async def test_a_spare_kernel_that_dies_as_it_is_handed_over_is_replaced_by_another(tmp_path: Path) -> None:
    """Neither a new session nor one that needs a fresh kernel hears of it."""
    async with open_registry(tmp_path) as registry:
        session = await SessionDriver.open(registry, "first")
        for use in ("open", "restore"):
            filling = registry._pool._filling
            assert filling is not None
            async with asyncio.timeout(WAIT_S):
                await asyncio.shield(filling)
            ((_, spare),) = registry._pool._spares
            spare.process.kill()
            if use == "open":
                assert (await (await SessionDriver.open(registry, "second")).ok("context")).result == "'second'"
            else:
                session.kernel.process.kill()
                report = await session.run("context")
                if report.status == "kernel_died":  # its death was noticed within the step
                    report = await session.ok("context")
                assert report.result == "'first'"
