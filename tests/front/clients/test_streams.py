"""Codex's pipes and Claude Code's socket pair, handed to a host: all that a client does goes as over stdio of its own.

The lines at the limits, cancellation and progress are those of `tests/mcp/`, where they are tried without a host.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from tests.front.hosts import FRONT, HERE, Hosts
from tests.mcp.line_client import CLIENT, LineClient, data_of

MB: Final = 1 << 20
LIMIT: Final = 256 * MB
BATCHES: Final = "2025-03-26"
"""The version of the protocol in which one line may hold many answers."""


class PairClient(LineClient):
    """A client whose server has one socket for stdin and stdout, as Node gives it."""

    def __init__(self, hosts: Hosts, name: str) -> None:
        directory = hosts.directory / name
        directory.mkdir()
        super().__init__(directory, hosts.env, ("/bin/true",), warm=False)
        self.process.wait()
        self.stdin.close()
        self.stdout.close()
        ours, theirs = socket.socketpair()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                FRONT, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=log, env=self.env, cwd=directory
            )
        theirs.close()
        self.stdin, self.stdout = os.fdopen(os.dup(ours.fileno()), "wb"), os.fdopen(os.dup(ours.fileno()), "rb")
        self.ours = ours
        hosts.clients.append(self)

    def end(self) -> int:
        self.ours.shutdown(socket.SHUT_WR)
        return super().end()

    def kill(self) -> None:
        super().kill()
        self.ours.close()


Make = Callable[[], LineClient]


@pytest.fixture(params=["pipes", "socket pair"])
def make(hosts: Hosts, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a client with such streams, through a front."""

    def made() -> LineClient:
        return PairClient(hosts, "client") if request.param == "socket pair" else hosts.client()

    yield made
    for client in hosts.clients:
        assert HERE not in client.log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_whole_session_with_progress_and_a_call_that_is_cancelled(make: Make) -> None:
    client = make()
    client.initialize()
    session_id = client.open_session("one two")
    arguments = {"session_id": session_id, "code": "begun = 1\nwhile True: pass"}
    running = client.begin("rlm_run_repl", arguments, {"progressToken": "tok"})
    while (message := client.receive()).get("method") != "notifications/progress":
        continue
    assert message["params"]["progressToken"] == "tok"
    client.notify("notifications/cancelled", {"requestId": running, "reason": "a test"})
    assert client.error("rlm_run_repl", session_id=session_id, code="1")["code"] == "SESSION_BUSY"
    assert client.data("rlm_interrupt", session_id=session_id)["status"] == "interrupted"
    assert client.run(session_id, "begun, len(context)")["result"] == "(1, 7)"
    assert client.data("rlm_finalize", session_id=session_id, final_text="done")["final_answer"] == "done"
    assert all(message.get("id") != running for message in client.seen)
    assert client.end() == 0


@pytest.mark.slow
def test_lines_of_eight_megabytes_come_and_go(make: Make) -> None:
    client = make()
    opened = client.request("initialize", {**CLIENT, "protocolVersion": BATCHES})
    assert opened["result"]["protocolVersion"] == BATCHES
    client.notify("notifications/initialized")
    session_id = client.open_session("z" * 8 * MB)
    assert client.run(session_id, "len(context)")["result"] == str(8 * MB)
    lists = [{"jsonrpc": "2.0", "id": f"list {number}", "method": "tools/list"} for number in range(500)]
    client.send_line(json.dumps(lists).encode())
    lengths: list[int] = []
    client.on_line = lambda line: lengths.append(len(line))
    answers: Any = client.receive()
    assert {answer["id"] for answer in answers} == {one["id"] for one in lists}
    assert max(lengths) > 8 * MB
    assert client.end() == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_line_at_the_limit_is_read_and_one_above_it_refused_and_the_neighbour_is_served(
    make: Make, hosts: Hosts
) -> None:
    client, neighbour = make(), hosts.client("neighbour")
    client.wait_s = 300
    for one in (client, neighbour):
        one.initialize()
    session_id = neighbour.open_session()
    begin = b'{"jsonrpc":"2.0","id":"%s","method":"ping","params":{"_meta":{"x":"'
    for name, length, what in ((b"fits", LIMIT, "result"), (b"above", LIMIT + 1, "error")):
        start = begin % name
        client.send_line(start + b"y" * (length - len(start) - 4) + b'"}}}')
        assert neighbour.run(session_id, "6 * 7")["result"] == "42"
        assert what in client.answer(name.decode())
    assert "result" in client.request("ping")
    assert client.end() == 0


@pytest.mark.slow
def test_a_host_that_dies_in_the_middle_of_long_lines_leaves_a_client_that_goes_on(make: Make, hosts: Hosts) -> None:
    """One that it was reading, and one that it was writing."""
    client = make()
    client.initialize()
    session_id = client.open_session()
    client.run(session_id, "large = 'y' * 200_000")
    hosts.wait_until_kept(session_id, client)
    read = {"session_id": session_id, "var_name": "large", "limit": 200_000}
    asked: list[int | str] = [client.begin("rlm_get_var", read) for _ in range(20)]
    (pid,) = hosts.everyone()
    client.stdin.write(b'{"jsonrpc":"2.0","id":"long","method":"ping","params":{"_meta":{"x":"' + b"z" * 100_000)
    client.stdin.flush()
    os.kill(pid, signal.SIGKILL)
    hosts.wait_for_end(pid)
    client.stdin.write(b'"}}}\n')
    client.stdin.flush()
    answers = Lines(client)
    for request in [*asked, "long"]:
        answer = answers.of(request)
        if "result" in answer and request != "long":
            assert data_of(answer["result"])["value"] == "y" * 200_000
        elif "error" in answer:
            assert answer["error"]["code"] == -32603
    assert client.run(session_id, "len(large)")["result"] == "200000"
    assert client.end() == 0


class Lines:
    """The answers of a client, where one line may have been cut off."""

    def __init__(self, client: LineClient) -> None:
        self.client = client
        self.cut_off = 0

    def of(self, request: int | str) -> dict[str, Any]:
        while True:
            try:
                return self.client.answer(request)
            except ValueError:
                self.cut_off += 1
                assert self.cut_off <= 1
