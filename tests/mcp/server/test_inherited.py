"""What a server inherits from whoever starts it changes nothing for it, its sessions and its end."""

from __future__ import annotations

import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.mcp.line_client import SERVE, WAIT_S, LineClient
from tests.processes import command_lines_below, left_over

pytestmark = pytest.mark.ends

STARTER: Final = """
import os, resource, signal, sys
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.umask(0o777)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.close(2)
os.environ |= {f"FILLER_{number}": "x" * 50_000 for number in range(20)}
os.environb[b"NO_UTF_8"] = b"\\xff"
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program as no shell would: all ignored, all blocked, nothing allowed, hardly a descriptor."""


def modes_below(directory: Path) -> int:
    """All bits of all modes; a file that is replaced while it is looked at has none."""
    modes = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            modes |= stat.S_IMODE(path.stat().st_mode)
    return modes


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(None, id="end of input", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, id="SIGTERM"),
    ],
)
def test_a_server_that_inherits_the_worst_works_and_ends(tmp_path: Path, way: signal.Signals | None) -> None:
    """Sessions open, steps are interrupted, files are the user's own; a signal ends it as ever."""
    directory = tmp_path / "server"
    directory.mkdir()
    client = LineClient(directory, argv=(sys.executable, "-c", STARTER, *SERVE))
    try:
        client.initialize()
        sessions = [client.open_session() for _ in range(3)]
        running = client.begin("rlm_run_repl", {"session_id": sessions[0], "code": "while True: pass"})
        client.wait_until_running(sessions[0])
        assert client.data("rlm_interrupt", session_id=sessions[0])["status"] == "interrupted"
        client.result(running)
        assert [client.run(session, "6 * 7")["result"] for session in sessions] == ["42"] * 3
        state = Path(client.env["RLM_STATE_DIR"])
        assert modes_below(state) & 0o077 == 0
        processes = command_lines_below(client.server_pid)
        if way is None:
            assert client.end() == 0
        else:
            client.process.send_signal(way)
            assert client.process.wait(WAIT_S) == 0
            if client.host is not None:
                client.host.end()
        assert left_over(processes, WAIT_S) == []
    finally:
        client.kill()


FEW: Final = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.slow
def test_a_kernel_starts_where_nobody_may_have_more_than_64_descriptors(tmp_path: Path) -> None:
    """The sockets that it is handed need no particular number to be out of the way at first."""
    directory = tmp_path / "server"
    directory.mkdir()
    client = LineClient(directory, argv=(sys.executable, "-c", FEW, *SERVE))
    try:
        client.initialize()
        assert client.run(client.open_session(), "6 * 7")["result"] == "42"
        assert client.end() == 0
    finally:
        client.kill()
