"""Many clients through fronts of their own have one host; what is a client's own stays its own."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess

import psutil
import pytest

from tests.front.hosts import FRONT, HERE, Hosts
from tests.processes import left_over


def test_a_session_works_through_a_front(hosts: Hosts) -> None:
    client = hosts.client()
    assert client.initialize()["serverInfo"]["name"] == "rlm-kernel-mcp"
    session_id = client.open_session("one two")
    assert client.run(session_id, "len(context)")["result"] == "7"
    assert client.end() == 0
    assert HERE not in client.log.read_text(encoding="utf-8")
    assert hosts.pid() is not None


@pytest.mark.slow
def test_a_front_has_next_to_nothing_of_its_own(hosts: Hosts) -> None:
    client = hosts.client()
    client.initialize()
    front = psutil.Process(client.process.pid)
    assert front.cmdline() == list(FRONT)
    assert front.num_threads() == 1
    assert front.children() == []


@pytest.mark.slow
def test_fronts_that_begin_at_once_have_one_host(hosts: Hosts) -> None:
    clients = [hosts.client(f"client{number}") for number in range(30)]
    asked = [client.send("initialize", _INITIALIZE) for client in clients]
    for client, request in zip(clients, asked, strict=True):
        assert "result" in client.answer(request)
    pid = hosts.pid()
    assert pid is not None
    assert hosts.count() == 1
    for client in clients:
        assert HERE not in client.log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_host_is_no_child_of_the_front_that_started_it(hosts: Hosts) -> None:
    """A client that ends its server with all of its family would end everybody's host."""
    client = hosts.client()
    client.initialize()
    pid = hosts.pid()
    assert pid is not None
    host = psutil.Process(pid)
    assert client.process.pid not in {parent.pid for parent in host.parents()}
    assert os.getsid(pid) == pid
    assert host.cwd() == "/"


def test_a_handle_works_from_another_client_and_in_the_same_kernel(hosts: Hosts) -> None:
    first, second = hosts.client("a"), hosts.client("b")
    first.initialize()
    second.initialize()
    session_id = first.open_session()
    first.run(session_id, "numbers = (number for number in range(3))")  # a generator comes back from no snapshot
    first.process.kill()
    assert second.run(session_id, "next(numbers)")["result"] == "0"


@pytest.mark.slow
def test_a_handle_works_from_a_client_with_other_kernel_settings_also_while_its_step_runs(hosts: Hosts) -> None:
    first = hosts.client("a")
    second = hosts.client("b", env={"TZ": "Asia/Tokyo", "RLM_IMPORTS": "sqlite3"})
    first.initialize()
    second.initialize()
    session_id = first.open_session()
    first.run(session_id, "numbers = (number for number in range(3))")  # a generator comes back from no snapshot
    assert second.run(session_id, "next(numbers)")["result"] == "0"
    running = first.begin("rlm_run_repl", {"session_id": session_id, "code": "begun = 1\nwhile True: pass"})
    second.wait_for_name(session_id, "begun")
    error = second.error("rlm_run_repl", session_id=session_id, code="1")
    assert error["code"] == "SESSION_BUSY"
    assert "another server" not in error["message"]
    assert second.data("rlm_interrupt", session_id=session_id)["status"] == "interrupted"
    assert "result" in first.answer(running)
    assert hosts.count() == 1


@pytest.mark.slow
def test_each_client_has_its_own_roots_and_working_directory(hosts: Hosts) -> None:
    first, second = hosts.client("a"), hosts.client("b")
    for client in (first, second):
        client.initialize()
        (client.directory / "own.txt").write_text(client.directory.name, encoding="utf-8")
    for client, other in ((first, second), (second, first)):
        context = client.data("rlm_init_context", context_paths=["own.txt"])["context"]
        assert context["head"] == client.directory.name
        error = client.error("rlm_init_context", context_paths=[str(other.directory / "own.txt")])
        assert error["code"] == "CONTEXT_DENIED"


@pytest.mark.slow
def test_a_client_has_what_its_settings_say_and_not_what_another_s_do(hosts: Hosts) -> None:
    first = hosts.client("a", env={"RLM_IMPORTS": "sqlite3"})
    second = hosts.client("b")
    results = []
    for client in (first, second):
        client.initialize()
        results.append(client.run(client.open_session(), "import sqlite3")["status"])
    assert results == ["ok", "error"]
    assert hosts.count() == 1


@pytest.mark.slow
def test_a_wrong_setting_is_said_by_the_server_itself(hosts: Hosts) -> None:
    client = hosts.client(env={"RLM_MAX_SESSIONS": "many"})
    assert client.process.wait(60) == 2
    assert "RLM_MAX_SESSIONS='many' is not a whole number" in client.log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_log_of_a_client_s_calls_is_on_its_own_stderr(hosts: Hosts) -> None:
    first, second = hosts.client("a"), hosts.client("b")
    first.initialize()
    second.initialize()
    first.error("rlm_init_context", context_paths=["/nowhere"])
    first.logged("rlm_init_context refused")
    assert "refused" not in second.log.read_text(encoding="utf-8")


def test_a_client_that_is_killed_or_stopped_or_never_reads_holds_up_nobody(hosts: Hosts) -> None:
    killed, stopped, deaf, well = (hosts.client(name) for name in ("killed", "stopped", "deaf", "well"))
    for client in (killed, stopped, deaf, well):
        client.initialize()
    session_id = well.open_session()
    for _ in range(200):
        deaf.send("tools/list")  # 200 answers of 20 KB are more than a pipe takes
    killed.process.kill()
    stopped.process.send_signal(signal.SIGSTOP)
    assert well.run(session_id, "1 + 1")["result"] == "2"
    stopped.process.send_signal(signal.SIGCONT)
    assert "result" in stopped.request("ping")


def test_a_client_s_end_leaves_its_session_and_takes_its_front_and_its_pipes(hosts: Hosts) -> None:
    first, second = hosts.client("a"), hosts.client("b")
    first.initialize()
    second.initialize()
    session_id = first.open_session()
    first.run(session_id, "x = 41")
    front = psutil.Process(first.process.pid)
    assert first.end() == 0
    assert left_over([front], 60) == []
    assert second.run(session_id, "x + 1")["result"] == "42"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "what"),
    [
        ("-t 6000", "processor time"),
        ("-f 9000000", "size of files"),
        ("-d 90000000", "data"),
        ("-v 90000000", "address"),
    ],
)
def test_a_client_with_another_hard_limit_has_no_part_in_a_host(hosts: Hosts, limit: str, what: str) -> None:
    """In either direction: one of them would have the other's."""
    limited = ("/bin/sh", "-c", f'ulimit {limit}; exec "$0" "$@"')
    hosts.client("a").initialize()
    second = hosts.client("b", before=limited)
    second.initialize()
    assert what in second.logged(HERE)
    assert hosts.count() == 1


@pytest.mark.slow
def test_a_soft_limit_of_the_first_client_is_no_limit_of_the_host(hosts: Hosts) -> None:
    first = hosts.client("a", before=("/bin/sh", "-c", 'ulimit -S -t 60; ulimit -S -f 1; exec "$0" "$@"'))
    second = hosts.client("b")
    for client in (first, second):
        client.initialize()
        assert client.run(client.open_session(), "6 * 7")["result"] == "42"
    (pid,) = hosts.everyone()
    for which in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):
        soft, hard = resource.prlimit(pid, which)
        assert soft == hard


@pytest.mark.slow
def test_socket_pairs_do_as_well_as_pipes(hosts: Hosts) -> None:
    """Node gives its children socket pairs."""
    ours, theirs = socket.socketpair()
    env = {**os.environ, **hosts.env}
    client = subprocess.Popen(FRONT, stdin=theirs.fileno(), stdout=theirs.fileno(), env=env, cwd=hosts.directory)
    theirs.close()
    with ours, client:
        ours.settimeout(60)
        ours.sendall(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        assert b'"id":1' in ours.recv(4096)
        ours.shutdown(socket.SHUT_WR)
        assert client.wait(60) == 0


_INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
