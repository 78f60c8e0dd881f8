"""A person follows a session at a terminal, beside the agent whose it is; nothing depends on that."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from rlm_kernel_mcp.session.watching.feeds import QUEUE_BYTES_MAX
from rlm_kernel_mcp.session.watching.live_output import LOOK_CHARS
from tests.front.followers import Follower
from tests.front.hosts import Hosts
from tests.mcp.line_client import LineClient

FOREVER = "print('first')\nwhile True: pass"
LIVE = "a host has it"
STEPS = 2 * QUEUE_BYTES_MAX // (6 * LOOK_CHARS)
"""More than a watcher's queue and its socket hold of what they print."""
RECORD = "the record is looked at once a second"

Follow = Callable[[str], Follower]


@pytest.fixture
def follow(hosts: Hosts) -> Iterator[Follow]:
    followers: list[Follower] = []

    def begin(session_id: str) -> Follower:
        log = hosts.directory / f"follower{len(followers)}.stderr"
        followers.append(Follower(hosts.env, session_id, log))
        return followers[-1]

    yield begin
    for one in followers:
        one.close()


def opened(client: LineClient) -> str:
    client.initialize()
    return client.open_session("some text", budget_limit=1_000_000_000)


def test_a_session_is_followed_from_its_beginning_to_its_answer(hosts: Hosts, follow: Follow) -> None:
    """A step that runs is shown while it does, and every line of a kernel's has its mark."""
    client = hosts.client()
    session_id = opened(client)
    client.run(session_id, "before = 1")
    follower = follow(session_id)
    follower.until_said(LIVE)
    running = client.begin("rlm_run_repl", {"session_id": session_id, "code": f"print('\\x1b[2Jred')\n{FOREVER}"})
    follower.until("| \\x1b[2Jred\n| first\n")
    assert "> while True: pass" in follower.shown  # in colours, where the extra [console] is there
    client.data("rlm_interrupt", session_id=session_id)
    client.answer(running)
    follower.until("run_repl (mcp): interrupted")
    client.data("rlm_finalize", session_id=session_id, final_text="the answer")
    assert follower.wait() == 0
    assert follower.shown.index("init_context") < follower.shown.index("before = 1") < follower.shown.index("> print")
    assert "the answer" in follower.shown
    assert follower.shown.count("first\n") == 1


@pytest.mark.slow
def test_a_follower_keeps_no_host_and_goes_on_with_the_next_one(hosts: Hosts, follow: Follow) -> None:
    hosts.env["RLM_HOST_IDLE_S"] = "0"
    client = hosts.client("a")
    session_id = opened(client)
    pid = hosts.pid()
    assert pid is not None
    follower = follow(session_id)
    follower.until_said(LIVE)
    assert client.end() == 0
    hosts.wait_for_end(pid)
    follower.until_said(RECORD)
    again = hosts.client("b")
    again.initialize()
    again.run(session_id, "print('again')")
    follower.until("again\n")
    again.data("rlm_finalize", session_id=session_id, final_text="the answer")
    assert follower.wait() == 0


@pytest.mark.slow
def test_a_host_that_is_killed_ends_no_follower(hosts: Hosts, follow: Follow) -> None:
    client = hosts.client()
    session_id = opened(client)
    follower = follow(session_id)
    follower.until_said(LIVE)
    pid = hosts.pid()
    assert pid is not None
    running = client.begin("rlm_run_repl", {"session_id": session_id, "code": FOREVER})
    follower.until("| first\n")
    os.kill(pid, signal.SIGKILL)
    client.answer(running)
    follower.until("run_repl (mcp): unknown")
    client.run(session_id, "print('later')")
    follower.until("later\n")
    client.data("rlm_finalize", session_id=session_id, final_text="the answer")
    assert follower.wait() == 0


@pytest.mark.slow
def test_a_follower_that_is_stopped_holds_up_neither_the_step_nor_its_neighbours(hosts: Hosts, follow: Follow) -> None:
    """Each of these steps ends while nobody reads what it prints, and what was not kept is counted."""
    client, neighbour = hosts.client("a"), hosts.client("b")
    session_id, other_id = opened(client), opened(neighbour)
    follower = follow(session_id)
    follower.until_said(LIVE)
    os.kill(follower.process.pid, signal.SIGSTOP)
    for number in range(1, STEPS + 1):
        code = f"print('\\x1b' * {LOOK_CHARS})"  # six bytes each in an event
        flood = client.begin("rlm_run_repl", {"session_id": session_id, "code": code})
        assert neighbour.run(other_id, f"{number}")["result"] == str(number)
        assert client.result(flood)["structuredContent"]["data"]["status"] == "ok"
    # The record has the answer before the follower has read what came until then.
    client.data("rlm_finalize", session_id=session_id, final_text="the answer")
    os.kill(follower.process.pid, signal.SIGCONT)
    assert follower.wait() == 0
    assert "left out: they came" in follower.shown
    assert follower.shown.count("run_repl (mcp): ok") == STEPS


@pytest.mark.slow
def test_a_session_of_a_server_of_its_own_is_followed_by_its_record(hosts: Hosts, follow: Follow) -> None:
    """Its output too, a second late; Ctrl-C ends the follower alone."""
    client = hosts.client(env={"RLM_HOST": "off"})
    session_id = opened(client)
    follower, other = follow(session_id), follow(session_id)
    follower.until_said(RECORD)
    running = client.begin("rlm_run_repl", {"session_id": session_id, "code": FOREVER})
    follower.until("| first\n")
    other.until("| first\n")
    os.kill(other.process.pid, signal.SIGINT)
    assert other.wait() == 130
    client.data("rlm_interrupt", session_id=session_id)
    client.answer(running)
    follower.until("run_repl (mcp): interrupted")
    client.data("rlm_finalize", session_id=session_id, final_text="the answer")
    assert follower.wait() == 0
