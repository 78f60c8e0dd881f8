"""A host of another version takes over: old clients stay where they are, and a session goes where it is used."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.front.hosts import HERE, Hosts
from tests.front.lifetimes.installation import Installation
from tests.mcp.line_client import WAIT_S, LineClient

pytestmark = pytest.mark.slow
STEPS = 6


class Two:
    """A client of a host of version 1.0.0, and one of a host of 2.0.0, which has taken over."""

    def __init__(self, hosts: Hosts, installation: Installation) -> None:
        self.hosts, self.installation = hosts, installation
        self.old, self.old_host = self.client_of("1.0.0")
        self.session_id = self.old.open_session("one two")
        self.old.run(self.session_id, "x = 41")
        self.new, self.new_host = self.client_of("2.0.0")

    def client_of(self, version: str) -> tuple[LineClient, int]:
        """A client, for which a host is started, and that host."""
        before = set(self.hosts.everyone())
        self.installation.become(version)
        client = self.hosts.client(f"client{len(self.hosts.clients)}")
        client.initialize()
        (host,) = set(self.hosts.everyone()) - before
        deadline = time.monotonic() + WAIT_S
        while {int(path.name.split(".")[-2]) for path in self.aside} != set(self.hosts.everyone()) - {host}:
            assert time.monotonic() < deadline, "the other hosts have not made way"
            client.pause()
        return client, host

    @property
    def aside(self) -> list[Path]:
        """The sockets of hosts that take no further client."""
        return [*self.hosts.sockets.glob("*.old")]

    def wait_until_asked(self, host: int, client: LineClient) -> None:
        """Return when somebody waits at the door of a host that was stopped; `client` is not to say anything."""
        (path,) = (str(path) for path in self.aside if path.name.endswith(f".{host}.old"))
        deadline = time.monotonic() + WAIT_S
        while Path("/proc/net/unix").read_text(encoding="utf-8").count(path) < 2:  # its own, and who is not accepted
            assert time.monotonic() < deadline, "nobody asks"
            client.pause()

    def wait_for_end(self, host: int) -> None:
        self.hosts.wait_for_end(host)


def used(client: LineClient, session_id: str, code: str) -> dict[str, Any]:
    """A step's data, however long its session takes to come: who is asked for it has 8 s for each call."""
    deadline = time.monotonic() + WAIT_S
    while not (answer := client.call("rlm_run_repl", session_id=session_id, code=code)["structuredContent"])["ok"]:
        assert "was not let go within" in answer["error"]["message"], answer
        assert time.monotonic() < deadline
    data: dict[str, Any] = answer["data"]
    return data


@pytest.fixture
def two(hosts: Hosts, tmp_path: Path) -> Two:
    installation = Installation(tmp_path / "installation")
    hosts.front = installation.front
    return Two(hosts, installation)


def test_a_session_moves_to_the_new_host_on_use_and_back_again_with_its_values(two: Two) -> None:
    moved = used(two.new, two.session_id, "x += 1; x")
    assert moved["result"] == "42"
    assert "moved to another of your hosts" in moved["lost"]["reason"]
    assert moved["lost"]["lost"] == []
    assert "x" in moved["lost"]["restored"]
    assert used(two.old, two.session_id, "x += 1; (x, len(context))")["result"] == "(43, 7)"
    assert used(two.new, two.session_id, "x")["result"] == "43"
    for client in (two.old, two.new):
        assert HERE not in client.log.read_text(encoding="utf-8")


def test_a_step_that_runs_there_is_named_with_its_host_and_goes_on(two: Two) -> None:
    running = two.old.begin("rlm_run_repl", {"session_id": two.session_id, "code": "while True: pass", "wait_ms": 0})
    assert two.old.result(running)["structuredContent"]["data"]["status"] == "running"
    for tool, arguments in (("rlm_run_repl", {"code": "1"}), ("rlm_get_var", {"var_name": "x"}), ("rlm_interrupt", {})):
        error = two.new.error(tool, session_id=two.session_id, **arguments)
        assert error["code"] == "SESSION_BUSY"
        assert f"Step 2 of session {two.session_id} has been running for" in error["message"]
        assert f"(pid {two.old_host}, version 1.0.0)" in error["message"]
        assert error["next_step"].startswith("Await or stop it from a client of that host")
    assert two.new.data("rlm_get_trace", session_id=two.session_id)["events"][-1]["action"] == "run_repl"
    assert two.old.data("rlm_interrupt", session_id=two.session_id)["status"] == "interrupted"
    assert used(two.new, two.session_id, "x")["result"] == "41"


def test_who_steps_on_both_sides_at_once_loses_no_step_and_no_session(two: Two) -> None:
    """Each counts in a session of its own and, wherever that is just then, in one that all use."""
    clients = [two.old, two.new, two.hosts.client("third")]
    clients[2].initialize()
    own = [client.open_session() for client in clients]
    for client, session_id in zip(clients, own, strict=True):
        client.run(session_id, "own = 0")
    shared = 41
    for _ in range(STEPS):
        asked = [
            [(client, client.begin("rlm_run_repl", {"session_id": one, "code": code}))]
            for client, session_id in zip(clients, own, strict=True)
            for one, code in ((session_id, "own += 1"), (two.session_id, "x += 1"))
        ]
        answers = [client.result(request)["structuredContent"] for ((client, request),) in asked]
        assert all(answer["data"]["status"] == "ok" for answer in answers[::2])
        shared += sum(_is_done(answer) for answer in answers[1::2])
    for client, session_id in zip(clients, own, strict=True):
        assert client.run(session_id, "own")["result"] == str(STEPS)
    assert used(two.new, two.session_id, "x")["result"] == str(shared)


def _is_done(answer: dict[str, Any]) -> bool:
    """Whether a step was run; else it was refused as one that finds the session in use, and changed nothing."""
    if answer["ok"]:
        assert answer["data"]["status"] == "ok"
        return True
    assert answer["error"]["code"] == "SESSION_BUSY"
    return False


def test_a_new_host_that_is_killed_as_it_asks_leaves_the_session_where_it_can_be_had(two: Two) -> None:
    two.hosts.wait_until_kept(two.session_id, two.old)
    os.kill(two.old_host, signal.SIGSTOP)
    asked = two.new.begin("rlm_run_repl", {"session_id": two.session_id, "code": "x + 1"})
    two.wait_until_asked(two.old_host, two.old)
    os.kill(two.new_host, signal.SIGKILL)
    two.wait_for_end(two.new_host)
    os.kill(two.old_host, signal.SIGCONT)
    assert "result" in two.new.answer(asked) or two.new.answer(asked)["error"]["code"] == -32603
    assert used(two.new, two.session_id, "x + 1")["result"] == "42"
    assert used(two.old, two.session_id, "x + 1")["result"] == "42"


def test_an_old_host_that_is_killed_as_it_is_asked_leaves_the_session_to_the_new_one(two: Two) -> None:
    two.hosts.wait_until_kept(two.session_id, two.old)
    os.kill(two.old_host, signal.SIGSTOP)
    asked = two.new.begin("rlm_run_repl", {"session_id": two.session_id, "code": "x + 1"})
    two.wait_until_asked(two.old_host, two.old)
    os.kill(two.old_host, signal.SIGKILL)
    two.new.answer(asked)
    assert used(two.new, two.session_id, "x + 1")["result"] == "42"
    assert used(two.old, two.session_id, "x + 1")["result"] == "42"  # by the new host, which its front has found
    assert len(two.hosts.everyone()) == 1


def test_an_old_host_ends_with_its_last_client_and_leaves_its_sessions_and_nothing_else(two: Two) -> None:
    assert len(two.aside) == 1
    two.old.end()
    two.wait_for_end(two.old_host)
    assert two.aside == []
    assert used(two.new, two.session_id, "x")["result"] == "41"


def test_a_version_that_comes_back_has_a_host_of_its_own_though_the_earlier_one_still_lives(two: Two) -> None:
    third, host = two.client_of("1.0.0")
    assert used(third, two.session_id, "x")["result"] == "41"
    assert used(two.old, two.session_id, "x")["result"] == "41"
    assert len({two.old_host, two.new_host, host}) == 3
    assert len(two.aside) == 2
    os.kill(two.old_host, signal.SIGKILL)
    two.wait_for_end(two.old_host)
    assert used(two.old, two.session_id, "x")["result"] == "41"
    two.client_of("3.0.0")
    assert str(two.old_host) not in "".join(path.name for path in two.aside)
