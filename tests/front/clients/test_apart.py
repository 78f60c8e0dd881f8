"""What is one client's stays that client's, whoever's session is used: roots also after a host's death, and limits."""

from __future__ import annotations

import os
import signal

import pytest

from tests.front.hosts import HERE, Hosts
from tests.mcp.line_client import LineClient

pytestmark = pytest.mark.slow

TEXT = "a line of the first one's\n"


def two_with_roots(hosts: Hosts) -> tuple[LineClient, LineClient]:
    """Each has a root of its own, a file in it, and a working directory elsewhere."""
    made = []
    for name in ("a", "b"):
        root = hosts.directory / f"root {name}"
        root.mkdir()
        (root / "own.txt").write_text(TEXT * 100_000, encoding="ascii")  # large enough to be read from its file again
        client = hosts.client(name, env={"RLM_CONTEXT_ROOTS": str(root)})
        client.initialize()
        made.append(client)
    first, second = made
    return first, second


def file_of(hosts: Hosts, name: str) -> str:
    return str(hosts.directory / f"root {name}" / "own.txt")


def test_a_session_that_comes_back_for_another_client_has_its_own_roots_and_not_that_client_s(hosts: Hosts) -> None:
    first, second = two_with_roots(hosts)
    session_id = first.data("rlm_init_context", context_paths=[file_of(hosts, "a")])["session_id"]
    first.run(session_id, "x = len(context)")
    hosts.wait_until_kept(session_id, first)
    (pid,) = hosts.everyone()
    os.kill(pid, signal.SIGKILL)
    hosts.wait_for_end(pid)
    # Read again by the roots that it was opened with: the one that brings it back could not open that file.
    assert second.run(session_id, "x == len(context) == 100_000 * 26")["result"] == "True"
    assert second.error("rlm_init_context", context_paths=[file_of(hosts, "a")])["code"] == "CONTEXT_DENIED"
    for client, name in ((second, "a"), (second, "b"), (first, "b")):
        error = client.error("rlm_add_context", session_id=session_id, name="more", paths=[file_of(hosts, name)])
        assert error["code"] == "CONTEXT_DENIED", (client.directory.name, name)
    first.data("rlm_add_context", session_id=session_id, name="more", paths=[file_of(hosts, "a")])
    assert second.run(session_id, "more == context")["result"] == "True"
    for client in (first, second):
        assert HERE not in client.log.read_text(encoding="utf-8")


def test_a_root_that_is_exchanged_while_there_is_no_host_allows_nothing_in_the_next(hosts: Hosts) -> None:
    first, second = two_with_roots(hosts)
    session_id = first.data("rlm_init_context", context_paths=[file_of(hosts, "a")])["session_id"]
    (pid,) = hosts.everyone()
    os.kill(pid, signal.SIGKILL)
    hosts.wait_for_end(pid)
    root = hosts.directory / "root a"
    root.rename(hosts.directory / "moved")
    root.symlink_to(hosts.directory / "root b")
    report = second.run(session_id, "len(context)")
    assert report["lost"] is not None, report
    assert first.error("rlm_init_context", context_paths=[file_of(hosts, "a")])["code"] == "CONTEXT_DENIED"


def test_one_client_s_limit_of_sessions_takes_no_other_s(hosts: Hosts) -> None:
    """Which has none to spare: its kernel stays, and what can be kept nowhere else with it."""
    first, second = (hosts.client(name, env={"RLM_MAX_SESSIONS": "1"}) for name in ("a", "b"))
    numbers = "numbers = (number for number in range(9))\nnext(numbers)"
    sessions = {}
    for client in (first, second):
        client.initialize()
        sessions[client] = client.open_session()
        assert client.run(sessions[client], numbers)["result"] == "0"
    more = first.open_session()
    assert first.run(more, "6 * 7")["result"] == "42"
    assert second.run(sessions[second], "next(numbers)")["result"] == "1"
    assert first.run(sessions[first], "1 + 1")["lost"] is not None  # it gave way to its own client's second one
    assert second.run(sessions[second], "next(numbers)")["result"] == "2"


def test_whoever_has_the_handle_sees_whose_a_session_is(hosts: Hosts) -> None:
    first, second = hosts.client("a"), hosts.client("b")
    for client in (first, second):
        client.initialize()
    session_id = first.open_session()

    def of(client: LineClient) -> object:
        (row,) = (row for row in client.data("rlm_list_sessions")["sessions"] if row["session_id"] == session_id)
        return row["connection"]

    assert (of(first), of(second)) == ("this", "other")
    assert first.end() == 0
    seen = [of(second)]
    while seen[-1] is not None:
        second.pause()
        seen.append(of(second))
    assert second.run(session_id, "1")["result"] == "1"
    assert of(second) == "this"
