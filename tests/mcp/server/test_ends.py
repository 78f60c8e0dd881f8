"""However the server ends, it ends soon, with its status, and no process stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.mcp.line_client import ENDLESS_CALL, WAIT_S, LineClient, data_of
from tests.processes import command_lines_below, left_over, run_directories

pytestmark = pytest.mark.ends

BUSY = "while True: pass"
IN_FLIGHT = {"nothing": [""], "a busy step, and one that ignores SIGINT": [BUSY, ENDLESS_CALL]}
SLOW = [pytest.mark.slow]
WAYS = {"EOF": None, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


def in_each_way(fast: str) -> list[Any]:
    """The ways; one is tried in the fast part. Both signals are heard at one place."""
    return [pytest.param(way, marks=[] if way == fast else SLOW) for way in WAYS]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LineClient]:
    """A server of the test's own, to be ended."""
    directory = tmp_path / "server"
    directory.mkdir()
    client = LineClient(directory, warm=False)
    try:
        yield client
    finally:
        client.kill()


def with_sessions(server: LineClient, *codes: str) -> dict[psutil.Process, str]:
    """Open a session for each code, begin a step in it, and return every process that then lives below the server."""
    server.initialize()
    for code in codes:
        session_id = server.open_session()
        server.run(session_id, "warm = 1")
        if code:
            server.begin("rlm_run_repl", {"session_id": session_id, "code": code})
            server.wait_until_running(session_id)
    processes = command_lines_below(server.server_pid)
    assert processes
    assert all(directory.is_dir() for directory in run_directories(processes.values()))
    return processes


def end(server: LineClient, way: signal.Signals | None) -> int:
    """Returns the exit status. A host goes on with the steps of a client that has left, and ends when it is told to."""
    if way is None:
        return server.end()
    server.process.send_signal(way)
    status = server.process.wait(WAIT_S)
    if server.host is not None:
        server.host.end()
    return status


@pytest.mark.parametrize("way", in_each_way("SIGTERM"))
@pytest.mark.parametrize(
    "steps", [pytest.param(name, marks=[] if any(IN_FLIGHT[name]) else SLOW) for name in IN_FLIGHT]
)
def test_the_server_ends_cleanly_and_leaves_no_process(server: LineClient, way: str, steps: str) -> None:
    """Status 0, and every process that lived below it is gone; sockets and scratch directories are, too."""
    processes = with_sessions(server, *IN_FLIGHT[steps])
    assert end(server, WAYS[way]) == 0
    assert left_over(processes, WAIT_S) == []
    (directory,) = run_directories(processes.values())
    assert not directory.exists()


@pytest.mark.parametrize("way", in_each_way("EOF"))
def test_the_server_ends_cleanly_before_anything_was_asked(server: LineClient, way: str) -> None:
    """Right after the handshake, and while the first kernel is being warmed."""
    server.initialize()
    server.send("tools/list")
    server.receive()
    processes = list(command_lines_below(server.server_pid))
    assert end(server, WAYS[way]) == 0
    assert left_over(processes, WAIT_S) == []


def test_a_server_that_is_killed_leaves_no_process(server: LineClient) -> None:
    """The kernels notice by themselves; a shell removes sockets and scratch directories, and is gone itself."""
    processes = with_sessions(server, BUSY)
    server.die()
    assert left_over(processes, WAIT_S) == []
    (directory,) = run_directories(processes.values())
    assert not directory.exists()


@pytest.mark.slow
def test_a_client_that_does_not_read_cannot_hold_the_server(server: LineClient) -> None:
    """Its pipe is full and the server is asked to end."""
    processes = with_sessions(server, "")
    for _ in range(200):
        server.send("tools/list")
    assert end(server, signal.SIGTERM) == 0
    assert left_over(processes, WAIT_S) == []


@pytest.mark.slow
def test_answers_that_were_due_before_the_end_of_input_are_given(server: LineClient) -> None:
    """A call in flight at the end is answered too, with the news that the connection closed."""
    server.initialize()
    session_id = server.open_session()
    call = server.begin("rlm_run_repl", {"session_id": session_id, "code": "while True: pass"})
    assert data_of(server.result(server.begin("rlm_list_sessions", {})))["sessions"]
    assert server.end() == 0
    assert "error" in server.answer(call)


@pytest.mark.slow
def test_a_new_server_takes_the_old_one_s_session_over_and_says_so(tmp_path: Path) -> None:
    """A client that starts anew keeps its handle; `lost` tells what became of the kernel."""
    directory = tmp_path / "server"
    directory.mkdir()
    old = LineClient(directory)
    try:
        old.initialize()
        session_id = old.open_session("the text")
        assert old.end() == 0
    finally:
        old.kill()
    new = LineClient(directory)
    try:
        new.initialize()
        step = new.run(session_id, "context")
        assert step["result"] == "'the text'"
        assert step["lost"]["reason"]
        assert new.error("rlm_run_repl", session_id="s_nobody22", code="1")["code"] == "SESSION_NOT_FOUND"
    finally:
        new.kill()
