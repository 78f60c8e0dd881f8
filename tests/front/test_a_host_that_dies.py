"""A host that is killed ends no client: what was in flight is answered, and the same pipes go on with another host."""

from __future__ import annotations

import os
import signal
import sys

import psutil
import pytest

from tests.front.hosts import HERE, Hosts
from tests.processes import left_over

LAUNCHER = (sys.executable, "-I", "-S", "-c", "import subprocess, sys; subprocess.call(sys.argv[1:])")
"""A client that starts its front; the test holds the pipes."""


def kill_the_host(hosts: Hosts) -> None:
    """What steps have bound may be lost until it is kept (`Hosts.wait_until_kept`)."""
    (pid,) = hosts.everyone()
    os.kill(pid, signal.SIGKILL)
    hosts.wait_for_end(pid)


@pytest.mark.slow  # the next one goes on as well, from the middle of a call
def test_an_idle_client_goes_on_where_it_was(hosts: Hosts) -> None:
    client = hosts.client()
    client.initialize()
    session_id = client.open_session()
    client.run(session_id, "x = 41")
    hosts.wait_until_kept(session_id, client)
    kill_the_host(hosts)
    assert client.run(session_id, "x + 1")["result"] == "42"
    assert HERE not in client.log.read_text(encoding="utf-8")
    assert client.end() == 0


@pytest.mark.slow
def test_a_call_in_flight_is_answered_with_its_own_id_and_says_that_it_may_have_run(hosts: Hosts) -> None:
    client, neighbour = hosts.client("a"), hosts.client("b")
    for one in (client, neighbour):
        one.initialize()
    session_id = client.open_session()
    request = client.begin("rlm_run_repl", {"session_id": session_id, "code": "begun = 1\nwhile True: pass"})
    neighbour.wait_for_name(session_id, "begun")
    kill_the_host(hosts)
    answer = client.answer(request)
    assert answer["error"]["code"] == -32603
    assert "may have run" in answer["error"]["message"]
    assert "rlm_get_trace" in answer["error"]["message"]
    assert client.run(session_id, "41 + 1")["result"] == "42"
    assert "result" in neighbour.request("ping")
    assert hosts.count() == 1
    answered = [message["id"] for message in client.seen if "id" in message]
    assert len(answered) == len(set(answered))


@pytest.mark.slow
def test_a_client_outlives_one_host_after_another(hosts: Hosts) -> None:
    client = hosts.client()
    client.initialize()
    for _ in range(2):
        assert "result" in client.request("tools/list")
        kill_the_host(hosts)
    assert "result" in client.request("ping")


@pytest.mark.slow
def test_a_front_ends_with_the_process_that_started_it_though_another_holds_its_pipes(hosts: Hosts) -> None:
    client = hosts.client(before=LAUNCHER)
    client.initialize()
    (front,) = psutil.Process(client.process.pid).children()
    client.process.kill()
    assert left_over([front], 60) == []
    assert hosts.pid() is not None


@pytest.mark.slow
def test_after_a_host_s_death_a_root_is_still_the_directory_that_was_opened_as_the_client_started(
    hosts: Hosts,
) -> None:
    root = hosts.directory / "root"
    root.mkdir()
    client = hosts.client(env={"RLM_CONTEXT_ROOTS": str(root)})
    client.initialize()
    root.rmdir()
    root.mkdir()
    (root / "new.txt").write_text("of whoever replaced the root", encoding="utf-8")
    for _ in range(2):
        error = client.error("rlm_init_context", context_paths=[str(root / "new.txt")])
        assert error["code"] == "CONTEXT_DENIED"
        kill_the_host(hosts)
    assert "result" in client.request("ping")


@pytest.mark.slow
def test_a_client_outlives_its_host_where_its_working_directory_was_removed_meanwhile(hosts: Hosts) -> None:
    client = hosts.client()
    client.initialize()
    session_id = client.open_session()
    client.directory.rmdir()
    kill_the_host(hosts)
    assert client.run(session_id, "41 + 1")["result"] == "42"
    assert HERE not in client.log.read_text(encoding="utf-8")
    assert client.end() == 0


@pytest.mark.slow
def test_where_no_host_can_follow_the_front_becomes_the_server_and_has_the_same_pipes_and_roots(hosts: Hosts) -> None:
    root = hosts.directory / "root"
    root.mkdir()
    client = hosts.client(env={"RLM_CONTEXT_ROOTS": str(root)})
    client.initialize()
    session_id = client.open_session()
    root.rmdir()
    root.mkdir()
    (root / "new.txt").write_text("of whoever replaced the root", encoding="utf-8")
    hosts.sockets.chmod(0o755)  # where others may enter no host is looked for
    kill_the_host(hosts)
    assert client.run(session_id, "41 + 1")["result"] == "42"
    assert "there is no other" in client.logged(HERE)
    assert client.error("rlm_init_context", context_paths=[str(root / "new.txt")])["code"] == "CONTEXT_DENIED"
    assert client.end() == 0
