"""`kernel/placement/local/startup_status.py`: what a starting kernel says, as its host hears it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed, RlmError, SandboxUnavailable
from rlm_kernel_mcp.in_kernel.precedence import WEIGHT
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket

pytestmark = pytest.mark.anyio


async def heard(*messages: dict[str, Any], pid: bool = False) -> RlmError:
    """The error that a host gets which waits for a kernel that says this and goes away."""
    status = StatusSocket()
    for message in messages:
        status.theirs.send(json.dumps(message).encode())
    status.close_theirs()
    try:
        async with asyncio.timeout(60):
            with pytest.raises(RlmError) as caught:
                await (status.wait_pid() if pid else status.wait_ready())
    finally:
        status.close()
    return caught.value


async def test_a_reason_can_do_nothing_and_names_no_folder(caplog: pytest.LogCaptureFixture) -> None:
    """Control, bidi and zero-width characters are shown, paths lose their directories, what is long is cut."""
    reason = "Oops: \x1b[31m /opt/secret place/a.py, '/srv/data-1/b/c.py' \u202e 1/2 " + "x" * 100_000
    traceback = "Traceback:\n  \x1b]0;title\x07 in make_app\n" + "y" * 100_000
    with caplog.at_level(logging.ERROR):
        error = await heard({"status": "failed", "reason": reason[:9_000], "traceback": traceback[:9_000]})
    assert isinstance(error, KernelStartFailed)
    shown = r"The kernel could not start: Oops: \x1b[31m secret place/a.py, 'c.py' \u202e 1/2 xxx"
    assert error.message.startswith(shown)
    assert len(error.message) < 1_100
    assert "in make_app" in caplog.text
    assert "\x1b" not in caplog.text
    assert len(caplog.text) < 5_000


async def test_a_wall_that_cannot_be_raised_is_named_with_its_remedy() -> None:
    """As a machine without Landlock says it."""
    error = await heard({"status": "failed", "wall": "landlock", "reason": "not there.", "remedy": "Use Linux 6.2."})
    assert isinstance(error, SandboxUnavailable)
    assert error.message == "The wall 'landlock' cannot be raised: not there."
    assert error.next_step == "Use Linux 6.2."


@pytest.mark.parametrize("pid", [True, False], ids=["before its pid is known", "after it"])
async def test_how_a_forked_kernel_ended_before_it_was_ready_is_told(pid: bool) -> None:
    """The fork server says so."""
    assert (await heard({"exit": -9}, pid=pid)).message.endswith("was ended by SIGKILL before it was ready.")


async def test_a_process_that_goes_without_a_word_is_a_failed_start() -> None:
    """Nobody says how."""
    assert (await heard()).message == "The kernel's process ended before it was ready."


async def test_a_host_without_a_descriptor_for_the_kernels_process_says_so_at_once() -> None:
    """The system drops what comes along and is not to be had: it would wait for the start's time-out."""
    error = await heard({"pid": 4242}, pid=True)
    assert isinstance(error, KernelStartFailed)
    assert "no descriptor left" in error.message
    assert "ulimit -n" in error.next_step


async def test_a_kernel_that_nobody_waits_for_is_killed_whatever_else_it_has_said(tmp_path: Path) -> None:
    """What sets its weight came first, and was taken for the process: the start's clean-up ended there."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220
    weight = os.open(tmp_path / "autogroup", os.O_CREAT | os.O_WRONLY)
    pidfd = os.pidfd_open(child.pid)
    status = StatusSocket()
    socket.send_fds(status.theirs, [WEIGHT], [weight])
    socket.send_fds(status.theirs, [json.dumps({"pid": child.pid}).encode()], [pidfd])
    before = len(list(Path("/proc/self/fd").iterdir()))
    status.disown()
    assert child.wait(60) == -signal.SIGKILL
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 2  # both ends of the socket; no copy is left
    child.communicate()
    os.close(weight)
    os.close(pidfd)


async def test_of_two_weights_the_first_is_closed() -> None:
    """The host keeps one file of a kernel, however often it says the word."""
    status = StatusSocket()
    reading, writing = os.pipe()
    for _ in range(2):
        socket.send_fds(status.theirs, [WEIGHT], [writing])
    status.theirs.send(b'{"status": "ready", "walls": []}')
    async with asyncio.timeout(60):
        await status.wait_ready()
    os.close(writing)
    os.close(status.take_weight())
    assert os.read(reading, 1) == b""
    os.close(reading)
    status.close()
