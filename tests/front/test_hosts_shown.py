"""What `sessions` and `doctor` say of the hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.commands.looking.hosts import host_lines
from rlm_kernel_mcp.settings import load_settings
from tests.front.hosts import Hosts
from tests.warm.python import run_python


def sessions(hosts: Hosts, *options: str) -> subprocess.CompletedProcess[str]:
    return run_python(["-m", "rlm_kernel_mcp", "sessions", *options], {**os.environ, **hosts.env})


def doctor(hosts: Hosts) -> list[str]:
    environ = {**os.environ, **hosts.env}
    return list(host_lines(load_settings(Path.cwd(), environ), environ))


@pytest.mark.slow
def test_hosts_are_told_with_their_clients_and_sessions_to_scripts_and_to_people(hosts: Hosts) -> None:
    """Who asks is no client."""
    first, second = hosts.client("a"), hosts.client("b")
    first.initialize()
    second.initialize()
    (pid,) = hosts.everyone()
    shown = {"pid": pid, "version": __version__, "clients": 2}
    assert json.loads(sessions(hosts, "--json").stdout) == {"hosts": [shown], "sessions": []}
    session_id = first.open_session("one two")
    first.run(session_id, "1")
    told = json.loads(sessions(hosts, "--json").stdout)
    assert told["hosts"] == [shown]
    (row,) = told["sessions"]
    assert row.keys() == {
        "session_id", "status", "created_at", "last_used_at", "step_index", "kind", "chars", "waits_for_answers",
        "ended", "pid", "parent", "depth", "question", "client", "used", "limits",
    }  # fmt: skip
    assert (row["session_id"], row["status"], row["step_index"], row["kind"], row["chars"], row["pid"]) == (
        session_id, "idle", 1, "text", 7, pid
    )  # fmt: skip
    table = sessions(hosts).stdout.splitlines()
    assert table[1].startswith(session_id)
    assert [line.split() for line in table[-2:]] == [
        ["HOST", "VERSION", "CLIENTS"],
        ["pid", str(pid), __version__, "2"],
    ]
    assert doctor(hosts) == [f"Host: process {pid}, version {__version__}, with 2 clients, which new clients use too."]


@pytest.mark.slow
def test_where_no_host_runs_doctor_tries_one_and_leaves_nothing_of_it(hosts: Hosts) -> None:
    before = {child.pid for child in psutil.process_iter()}
    (line,) = doctor(hosts)
    assert line.startswith("Host: none runs for new clients; the first starts one (tried here: ")
    left = [one for one in psutil.process_iter(["cmdline"]) if one.pid not in before]
    assert not [one for one in left if "rlm-doctor-" in " ".join(one.info["cmdline"] or [])]
    assert hosts.everyone() == []
    assert [*hosts.sockets.iterdir()] == []


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"RLM_HOST": "off"}, "none is used, since RLM_HOST is off"),
        ({"RLM_SANDBOX_MODE": "container"}, "none is used with RLM_SANDBOX_MODE=container"),
    ],
)
def test_doctor_says_why_no_host_is_wanted(hosts: Hosts, env: dict[str, str], said: str) -> None:
    hosts.env |= env
    (line,) = doctor(hosts)
    assert line == f"Host: {said}; each client has a server of its own."


def test_doctor_says_why_no_host_can_be_had(hosts: Hosts) -> None:
    hosts.sockets.chmod(0o755)
    (line,) = doctor(hosts)
    assert line == (
        "Host: none can be had, so that each client has a server of its own: "
        f"{hosts.sockets} is not a directory of this user alone."
    )
    told = sessions(hosts, "--json")
    assert f"hosts cannot be looked for: {hosts.sockets} is not a directory" in told.stderr


@pytest.mark.slow
def test_a_host_that_does_not_answer_is_told_without_its_clients(hosts: Hosts) -> None:
    client = hosts.client()
    client.initialize()
    client.open_session()
    (pid,) = hosts.everyone()
    os.kill(pid, signal.SIGSTOP)
    told = sessions(hosts, "--json")
    os.kill(pid, signal.SIGCONT)
    assert json.loads(told.stdout)["hosts"] == [{"pid": pid, "version": __version__, "clients": None}]
    assert f"(pid {pid}) cannot be asked: it did not answer within 10 s" in told.stderr
