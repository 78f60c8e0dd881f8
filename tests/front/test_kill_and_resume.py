"""A person ends a session's kernel by a command, and has it started again, beside the client whose session it is."""

from __future__ import annotations

import json
import os
import subprocess

import psutil
import pytest

from tests.front.hosts import Hosts
from tests.mcp.line_client import WAIT_S, LineClient
from tests.records import record_of
from tests.warm.python import run_python


def command(hosts: Hosts, *words: str) -> subprocess.CompletedProcess[str]:
    return run_python(["-m", "rlm_kernel_mcp", *words], {**os.environ, **hosts.env})


def opened(hosts: Hosts, code: str = "kept = 41") -> tuple[LineClient, str]:
    """A client with a session in which a step has run and its values are on disk."""
    client = hosts.client()
    client.initialize()
    session_id = client.open_session("some text")
    assert client.run(session_id, code)["status"] == "ok"
    hosts.wait_until_kept(session_id, client)
    return client, session_id


def kernel_pid(hosts: Hosts, session_id: str) -> int:
    return record_of(hosts.directory / "state", session_id).kernel_pid


@pytest.mark.slow
def test_a_kernel_that_was_ended_by_a_command_is_back_on_use_with_its_values(hosts: Hosts) -> None:
    """The client need not know of it: its next step says what happened. A second time there is nothing to end."""
    client, session_id = opened(hosts)
    kernel = psutil.Process(kernel_pid(hosts, session_id))
    told = command(hosts, "kill", session_id)
    assert (told.returncode, told.stdout) == (
        0,
        f"The kernel of session {session_id} has ended; its values are kept, and come back on use.\n",
    )
    kernel.wait(WAIT_S)
    assert command(hosts, "kill", session_id).stdout == f"Session {session_id} has no kernel.\n"
    report = client.run(session_id, "kept + 1")
    assert (report["status"], report["result"]) == ("ok", "42")
    assert "kept" in report["lost"]["restored"]


@pytest.mark.slow
def test_a_step_without_end_ends_with_its_kernel(hosts: Hosts) -> None:
    """It does not come back with it: its values are those of the step before. The client that waits is told."""
    client, session_id = opened(hosts)
    step = client.begin("rlm_run_repl", {"session_id": session_id, "code": "kept = begun = 0\nwhile True: pass"})
    client.wait_for_name(session_id, "begun")
    assert command(hosts, "kill", session_id).returncode == 0
    report = client.result(step)["structuredContent"]["data"]
    assert (report["status"], "a person has ended it" in json.dumps(report)) == ("kernel_died", True)
    assert client.run(session_id, "kept")["result"] == "41"


@pytest.mark.slow
def test_nothing_is_kept_of_a_session_that_is_to_be_forgotten(hosts: Hosts) -> None:
    client, session_id = opened(hosts)
    told = command(hosts, "kill", "--forget", session_id)
    assert (told.returncode, "is forgotten" in told.stdout) == (0, True)
    assert client.error("rlm_run_repl", session_id=session_id, code="1")["code"] == "SESSION_NOT_FOUND"
    assert command(hosts, "trace", session_id).returncode == 1
    assert [*(hosts.directory / "state" / "snapshots").glob(f"{session_id}.*")] == []


def test_a_kernel_is_started_again_by_a_command_and_stays_when_that_has_ended(hosts: Hosts) -> None:
    """What came back is said, also to scripts, and to the agent with its next step all the same."""
    client, session_id = opened(hosts, "kept = 41\nfound = (n for n in (1, 2))")
    assert command(hosts, "kill", session_id).returncode == 0
    told = command(hosts, "resume", session_id)
    pid = kernel_pid(hosts, session_id)
    assert told.stdout.startswith(f"The kernel of session {session_id} runs again (pid {pid}).\n- gone: `found` (")
    assert "`kept`" in told.stdout
    again = json.loads(command(hosts, "resume", session_id, "--json").stdout)
    assert (again["pid"], again["was_running"], again["restored"], again["lost"]) == (pid, True, [], [])
    report = client.run(session_id, "kept")
    assert (report["result"], kernel_pid(hosts, session_id)) == ("41", pid)
    assert [name["name"] for name in report["lost"]["lost"]] == ["found"]


@pytest.mark.slow
def test_a_session_with_its_answer_is_not_started_again(hosts: Hosts) -> None:
    client, session_id = opened(hosts)
    client.data("rlm_finalize", session_id=session_id, final_text="done")
    told = command(hosts, "resume", session_id)
    assert (told.returncode, "already has its final answer" in told.stderr) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("kill",), ("resume",)], ids=["kill", "resume"])
def test_of_a_server_without_a_host_nobody_can_be_asked(hosts: Hosts, words: tuple[str, ...]) -> None:
    """It says so, with the process, and nothing is done to its session."""
    client = hosts.client(env={"RLM_HOST": "off"})
    client.initialize()
    session_id = client.open_session()
    told = command(hosts, *words, session_id)
    assert (told.returncode, str(client.process.pid) in told.stderr) == (1, True)
    assert client.run(session_id, "1 + 1")["result"] == "2"


@pytest.mark.slow
def test_where_no_host_is_wanted_no_kernel_is_started(hosts: Hosts) -> None:
    _, session_id = opened(hosts)
    hosts.env["RLM_HOST"] = "off"
    told = command(hosts, "resume", session_id)
    assert (told.returncode, "RLM_HOST is off" in told.stderr) == (2, True)
