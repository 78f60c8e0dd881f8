"""Programs that have their sessions in a host, beside agents: what is shared, what is not, and the end of either."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from rlm_kernel_mcp.api import Output, Session, Sessions
from rlm_kernel_mcp.errors import ContextDenied, HostEnded, HostUnavailable, SessionBusy
from tests.front.hosts import Hosts
from tests.parts import ROOT
from tests.sessions import POLL_S, WAIT_S

FOREVER: Final = "x = 1\nprint('begun', flush=True)\nwhile True: pass"
RUNS: Final = """
import sys
from rlm_kernel_mcp.api import Session
session = Session(host="required", context_text="some text")
print(session.session_id, flush=True)
session.run(sys.argv[1], on_output=lambda piece: print(piece, end="", flush=True), timeout_ms=3_600_000)
"""
FORKS: Final = """
import os, sys
from rlm_kernel_mcp.api import Session
session = Session(host="required", context_text="some text")
print(session.session_id, flush=True)
if os.fork() == 0:
    os.read(0, 1)
os._exit(0)
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Hosts]:
    """A host that goes on from test to test."""
    with tempfile.TemporaryDirectory(prefix="rlm-") as directory:
        places = [Path(directory, name) for name in ("sockets", "clients")]
        for place in places:
            place.mkdir()
        made = Hosts(*places)
        yield made
        made.close()


def program(hosts: Hosts, code: str, *arguments: str) -> subprocess.Popen[str]:
    """A program of its own, in a directory of its own."""
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, *arguments],
        env={**os.environ, **hosts.env},
        cwd=hosts.directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_the_host(hosts: Hosts) -> None:
    (pid,) = hosts.everyone()
    os.kill(pid, signal.SIGKILL)
    hosts.wait_for_end(pid)


def kernels(hosts: Hosts) -> set[psutil.Process]:
    """What lives below the host."""
    pid = hosts.pid()
    assert pid is not None
    return {*psutil.Process(pid).children(recursive=True)}


def wait_until_kept(hosts: Hosts, session_id: str) -> None:
    """Return when the values of a session's first step are on disk, which comes after the step's answer."""
    kept, deadline = hosts.directory / "state" / "snapshots" / f"{session_id}.json", time.monotonic() + WAIT_S
    while not kept.is_file():
        assert time.monotonic() < deadline, f"the values were not kept; the host's log:\n{hosts.log()}"
        select.select([], [], [], POLL_S)


def test_a_program_has_an_agent_s_session_in_the_same_kernel_and_leaves_it_there(shared: Hosts) -> None:
    agent = shared.client("agent")
    agent.initialize()
    session_id = agent.open_session()
    agent.run(session_id, "numbers = (number for number in range(9))")  # a generator comes back from no snapshot
    with Session(host="required", env=shared.env, session_id=session_id) as session:
        assert session.run("next(numbers)").result == "0"
        running = agent.begin("rlm_run_repl", {"session_id": session_id, "code": "begun = 1\nwhile True: pass"})
        agent.wait_for_name(session_id, "begun")
        with pytest.raises(SessionBusy, match=r"Step 3 of session \w+ has been running"):
            session.run("1")
        assert session.get("begun", int) == 1
        session.interrupt()
        assert "result" in agent.answer(running)
    assert agent.run(session_id, "next(numbers)")["result"] == "1"


@pytest.mark.slow
def test_each_program_has_its_own_roots_and_working_directory(shared: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    places = []
    for name in ("one", "two"):
        directory = shared.directory / name
        directory.mkdir()
        (directory / "own.txt").write_text(name, encoding="utf-8")
        monkeypatch.chdir(directory)
        places.append(Sessions(host="required", env=shared.env))
    monkeypatch.chdir("/")
    with places[0] as one, places[1] as two:
        for place, name, other in ((one, "one", "two"), (two, "two", "one")):
            with place.open(context_paths="own.txt") as session:
                assert session.get_text("context") == name
            with pytest.raises(ContextDenied):
                place.open(context_paths=shared.directory / other / "own.txt")
    assert shared.count() == 1


@pytest.mark.slow
def test_a_program_goes_on_with_another_host_and_is_told_that_its_step_may_have_run(hosts: Hosts) -> None:
    with Session(host="required", env=hosts.env, context_text="some text") as session:
        session.run("x = 41")
        wait_until_kept(hosts, session.session_id)
        told = list[str]()

        def kill(piece: Output) -> None:
            if not told:
                kill_the_host(hosts)
            told.append(piece.text)

        with pytest.raises(HostEnded, match="a step that was running may have run"):
            session.run(FOREVER.removeprefix("x = 1\n"), on_output=kill)
        assert session.run("x + 1").result == "42"
        assert [event.result_status for event in session.trace(from_step=2, to_step=2)] == ["unknown"]


@pytest.mark.slow
def test_a_program_that_is_killed_takes_its_step_and_its_kernel_and_nobody_else_s(shared: Hosts) -> None:
    with Session(host="required", env=shared.env, context_text="some text") as neighbour:
        before = kernels(shared)
        with program(shared, RUNS, FOREVER) as killed:
            assert killed.stdout is not None
            session_id = killed.stdout.readline().strip()
            assert killed.stdout.readline() == "begun\n"
            theirs = kernels(shared) - before
            assert theirs
            killed.kill()
        wait_for_idle(neighbour, session_id)
        assert neighbour.run("1 + 1").result == "2"
        with Session(host="required", env=shared.env, session_id=session_id) as again:
            (event,) = (event for event in again.trace(from_step=1) if event.action == "run_repl")
            assert event.result_status in ("interrupted", "kernel_died")
            assert again.run("len(context)").result == "9"


def wait_for_idle(session: Session, other: str) -> None:
    """Return when nothing runs in the other session."""
    door, deadline = session._sessions._door, time.monotonic() + WAIT_S
    while True:
        events = session._sessions.do(door.trace({"session_id": other, "from_step": 1}))
        if all(event.result_status not in ("running", "unknown") for event in events):
            return
        assert time.monotonic() < deadline, events
        select.select([], [], [], POLL_S)


@pytest.mark.slow
def test_the_end_of_a_program_is_seen_though_a_child_of_its_goes_on(shared: Hosts) -> None:
    """It has the connection by inheritance, and is not whom the host let in."""
    agent = shared.client("onlooker")
    agent.initialize()
    with program(shared, FORKS) as parent:
        assert parent.stdout is not None
        session_id = parent.stdout.readline().strip()
        deadline = time.monotonic() + WAIT_S
        while True:
            rows = {row["session_id"]: row for row in agent.data("rlm_list_sessions")["sessions"]}
            if rows[session_id]["connection"] is None:
                break
            assert time.monotonic() < deadline
            agent.pause()


@pytest.mark.slow
def test_a_program_that_is_stopped_while_it_is_told_megabytes_holds_up_nobody(shared: Hosts) -> None:
    code = "print('begun', flush=True)\nfor _ in range(300): print('x' * 10_000)"
    with program(shared, RUNS, code) as stopped:
        assert stopped.stdout is not None
        stopped.stdout.readline()
        stopped.send_signal(signal.SIGSTOP)
        with Session(host="required", env=shared.env, context_text="some text") as neighbour:
            assert neighbour.run("1 + 1").result == "2"
        stopped.send_signal(signal.SIGCONT)
        assert stopped.stdout.read().count("x") == 3_000_000


@pytest.mark.slow
def test_the_five_lines_of_the_readme_work_in_a_host_and_leave_nothing_there(hosts: Hosts) -> None:
    (hosts.directory / "logs").mkdir()
    (hosts.directory / "logs" / "app.log").write_text("INFO begun\nERROR one\nINFO\nERROR two\n", encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = readme.partition("```python\n")[2].partition("```")[0]
    with Sessions(host="required", env=hosts.env):
        for _ in range(2):
            with program(hosts, lines) as done:
                assert done.stdout is not None
                assert done.stdout.read() == "2 errors\n\nin lines [2, 4]\n"
            assert done.returncode == 0
        assert hosts.count() == 1


@pytest.mark.slow
def test_where_no_host_can_follow_a_program_goes_on_in_its_own_process_with_the_directories_that_it_opened(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    root = hosts.directory / "root"
    root.mkdir()
    with Session(env={**hosts.env, "RLM_CONTEXT_ROOTS": str(root)}, context_text="some text") as session:
        session.run("x = 41")
        wait_until_kept(hosts, session.session_id)
        root.rmdir()
        root.mkdir()
        (root / "new.txt").write_text("of whoever replaced the root", encoding="utf-8")
        hosts.sockets.chmod(0o755)  # where others may enter no host is looked for
        kill_the_host(hosts)
        assert session.run("x + 1").result == "42"
        with pytest.raises(ContextDenied):
            session.add_context("new", paths=root / "new.txt")
        assert caplog.text.count("in this process, without a host") == 1
    with pytest.raises(HostUnavailable, match="is not a directory of this user alone"):
        Session(host="required", env=hosts.env, context_text="some text")
