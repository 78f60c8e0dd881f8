"""Questions of a session in a host: its client may leave, it may be killed, and the client's key stays in it alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.endpoints.aside import (
    KEY,
    asks,
    endpoint_aside,
    kept,
    nothing,
    only_those_that,
    prompts,
    wait_until,
)
from tests.endpoints.endpoint import Endpoint, says
from tests.endpoints.looking import environment_of, files_with, processes_with
from tests.front.hosts import HERE, Hosts
from tests.mcp.line_client import WAIT_S
from tests.processes import command_lines_below, left_over

pytestmark = pytest.mark.slow
SIX: Final = "llm_query_batched(list('abcdef'))"
ECHOES: Final = str([f"echo of {name}" for name in "abcdef"])
SAYS_WHY: Final = "try:\n    llm_query('refused')\nexcept SubcallError as error:\n    print(error)"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with endpoint_aside(held=only_those_that(*"def")) as made:
        yield made


@pytest.fixture
def hosts(short_dir: Path, tmp_path: Path, endpoint: Endpoint) -> Iterator[Hosts]:
    """Each client of these has the endpoint's settings."""
    made = Hosts(short_dir, tmp_path)
    made.env |= asks(endpoint)
    yield made
    made.close()


def test_a_host_that_is_killed_in_a_batch_has_kept_what_was_answered(hosts: Hosts, endpoint: Endpoint) -> None:
    """The same client goes on with the next host, which asks for the rest alone; nothing of the first one stays."""
    client, neighbour = hosts.client("a"), hosts.client("b")
    for one in (client, neighbour):
        one.initialize()
    session_id = client.open_session()
    call = client.begin("rlm_run_repl", {"session_id": session_id, "code": SIX})
    wait_until(neighbour, lambda: len(endpoint.seen) == 6 and "3 answered" in kept(neighbour, session_id))
    (pid,) = hosts.everyone()
    below = command_lines_below(pid)
    os.kill(pid, signal.SIGKILL)
    hosts.wait_for_end(pid)
    assert "may have run" in client.answer(call)["error"]["message"]
    assert left_over(below, WAIT_S) == []
    wait_until(neighbour, lambda: len(endpoint.abandoned) == 3)
    endpoint.held = nothing
    report = client.run(session_id, SIX)
    assert report["result"] == ECHOES
    assert (report["subcalls"]["cached"], report["subcalls"]["answered"]) == (3, 3)
    assert prompts(endpoint) == {**dict.fromkeys("abc", 1), **dict.fromkeys("def", 2)}


@pytest.mark.parametrize("way", ["killed", "end of its input"])
def test_a_step_goes_on_asking_where_its_client_has_left(hosts: Hosts, endpoint: Endpoint, way: str) -> None:
    """Whoever comes next has its result, and nothing was asked twice."""
    client, neighbour = hosts.client("a"), hosts.client("b")
    for one in (client, neighbour):
        one.initialize()
    session_id = client.open_session()
    client.begin("rlm_run_repl", {"session_id": session_id, "code": SIX})
    wait_until(neighbour, lambda: len(endpoint.seen) == 6 and "3 answered" in kept(neighbour, session_id))
    if way == "killed":
        client.process.kill()
        client.process.wait(WAIT_S)
    else:
        assert client.end() == 0
    step = {"session_id": session_id, "step_index": 1}
    assert neighbour.data("rlm_await_step", **step, wait_ms=0)["status"] == "running"
    endpoint.held = nothing
    report = neighbour.data("rlm_await_step", **step)
    assert (report["status"], report["result"]) == ("ok", ECHOES)
    assert report["subcalls"]["answered"] == 6
    assert (prompts(endpoint), endpoint.abandoned) == (dict.fromkeys("abcdef", 1), [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_host_that_ends_with_questions_open_leaves_no_process_and_no_request(
    hosts: Hosts, endpoint: Endpoint, number: signal.Signals
) -> None:
    """Told to, or killed, while both the host and its client have something to wait for."""
    client = hosts.client()
    client.initialize()
    session_id = client.open_session()
    endpoint.held = lambda seen: True
    client.begin("rlm_run_repl", {"session_id": session_id, "code": "llm_query_batched(list(map(str, range(200))))"})
    wait_until(client, lambda: len(endpoint.seen) == 16)
    (pid,) = hosts.everyone()
    below = command_lines_below(pid)
    client.process.kill()  # first: it would go on with another host
    client.process.wait(WAIT_S)
    os.kill(pid, number)
    hosts.wait_for_end(pid)
    assert left_over(below, WAIT_S) == []
    wait_until(client, lambda: len(endpoint.abandoned) == 16)
    assert len(endpoint.seen) == 16


def test_a_client_s_key_is_in_no_process_but_its_own_front_and_its_host(hosts: Hosts, endpoint: Endpoint) -> None:
    """Not in a kernel, used or spare, nor what makes them; in no environment, file, log, answer or trace."""
    endpoint.held = nothing
    endpoint.reply = lambda seen: f"{seen.headers['authorization']} of {seen.user}"
    lines: list[bytes] = []
    client = hosts.client()
    client.on_line = lines.append
    client.initialize()
    session_id = client.open_session()
    assert client.run(session_id, f"print(*{SIX}, sep=', ')")["stdout"].startswith("Bearer [key] of a, Bearer [key]")
    endpoint.faults.append(says(401, {"error": {"message": f"wrong {KEY}"}}))
    assert "refuses the key" in client.run(session_id, SAYS_WHY)["stdout"]
    client.data("rlm_get_trace", session_id=session_id, detail="full")
    (pid,) = hosts.everyone()
    below = [process.pid for process in command_lines_below(pid)]
    assert len(below) >= 2  # what makes kernels, and a kernel
    assert processes_with(KEY, below) == []
    assert KEY.encode() not in environment_of(pid)
    assert files_with(KEY, [hosts.directory, hosts.sockets]) == []
    assert [line for line in lines if KEY.encode() in line] == []
    assert HERE not in client.log.read_text(encoding="utf-8")
