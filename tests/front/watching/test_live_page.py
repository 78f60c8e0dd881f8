"""A page is told a session of a real host over a real socket, and nothing depends on who reads it."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from rlm_kernel_mcp.watching.live.session_stream import NEEDS_HOST
from rlm_kernel_mcp.watching.web.gate import HEADERS
from tests.front.hosts import Hosts
from tests.front.watching.pages import Page
from tests.mcp.line_client import LineClient

pytestmark = pytest.mark.slow

FOREVER = "print('first')\nbegun = 1\nwhile True: pass"
FLOOD = "begun = 1\nwhile True: print('x' * 1_000)"

Open = Callable[..., Page]


@pytest.fixture
def page(hosts: Hosts) -> Iterator[Open]:
    pages: list[Page] = []

    def begin(port: int = 0, **env: str) -> Page:
        pages.append(Page({**hosts.env, **env}, hosts.directory / "watch.stderr", port))
        return pages[-1]

    yield begin
    for one in pages:
        one.close()


@pytest.fixture
def port() -> Iterator[int]:
    """One that nobody else is given where its listener has just ended: another socket has it, and never listens."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def opened(hosts: Hosts) -> tuple[LineClient, str]:
    client = hosts.client()
    client.initialize()
    return client, client.open_session("some text", budget_limit=1_000_000_000)


def test_a_step_is_told_as_it_prints_and_after_a_kill_of_the_page_nothing_is_missing_or_twice(
    hosts: Hosts, page: Open, port: int
) -> None:
    client, session_id = opened(hosts)
    client.run(session_id, "before = 1")
    first = page(port)
    stream = first.follow(session_id)
    stream.until("state", live=True)
    running = client.begin("rlm_run_repl", {"session_id": session_id, "code": FOREVER})
    assert stream.until("begin")["code"] == FOREVER
    stream.until_printed("first\n")
    known, last = [event["id"] for event in stream.events], stream.last_id
    first.kill()
    again = page(port)
    assert (again.base, again.cookie) == (first.base, first.cookie), "a tab that is open goes on"
    stream = again.follow(session_id, last)
    stream.until_printed("first\n")
    client.data("rlm_interrupt", session_id=session_id)
    client.answer(running)
    client.data("rlm_finalize", session_id=session_id, final_text="the answer")
    assert stream.until("end")["status"] == "finalized"
    told = [*known, *(event["id"] for event in stream.events)]
    whole = again.follow(session_id)
    whole.until("end")
    assert sorted(told) == sorted(event["id"] for event in whole.events)
    assert len(set(told)) == len(told)
    assert [event["type"] for event in whole.events][-1] == "final"


def test_without_a_host_steps_come_as_they_are_recorded_and_it_says_so(hosts: Hosts, page: Open) -> None:
    client, session_id = opened(hosts)
    client.begin("rlm_run_repl", {"session_id": session_id, "code": FOREVER})
    client.wait_for_name(session_id, "begun")
    stream = page(RLM_HOST="off").follow(session_id)
    assert stream.until("state", words=f"RLM_HOST is off; {NEEDS_HOST}")["live"] is False
    while "first\n" not in [message["so_far"] for message in stream.seen if message["type"] == "begin"]:
        stream.until("begin")
    client.data("rlm_interrupt", session_id=session_id)
    while "interrupted" not in [event["status"] for event in stream.events]:
        stream.until("event")


def test_a_reader_that_does_not_read_holds_up_nobody(hosts: Hosts, page: Open) -> None:
    """Neither the step, nor another reader."""
    client, session_id = opened(hosts)
    opened_page = page()
    _idle, other = opened_page.follow(session_id), opened_page.follow(session_id)
    other.until("state", live=True)
    running = client.begin("rlm_run_repl", {"session_id": session_id, "code": FLOOD})
    printed = 0
    while printed < 500_000:
        message = other.until("output")
        printed += len(message["text"]) + message.get("skipped", 0)
    client.data("rlm_interrupt", session_id=session_id)
    client.answer(running)
    client.data("rlm_finalize", session_id=session_id, final_text="the answer")
    other.until("end")


def test_the_list_of_sessions_changes_as_they_do(hosts: Hosts, page: Open) -> None:
    client, session_id = opened(hosts)
    opened_page = page()
    stream = opened_page.stream("api/sessions/events")
    assert [row["id"] for row in stream.until("sessions")["sessions"]] == [session_id]
    client.run(session_id, "1 / 0")
    while stream.until("sessions")["sessions"][0]["pulse"] != "e":
        pass
    assert opened_page.json("api/sessions")["sessions"][0]["pulse"] == "e"


def test_what_was_searched_and_delivered_is_on_the_map(hosts: Hosts, page: Open) -> None:
    """The line that was printed, where it lies in the context, as the host has found it there: maybe a moment later."""
    client = hosts.client()
    client.initialize()
    line = "the needle that this text has among many other words\n"
    session_id = client.open_session("hay\n" * 1_000 + line + "hay\n" * 1_000)
    opened_page = page()
    stream = opened_page.follow(session_id)
    stream.until("events", more=False)
    client.run(session_id, "search('needle')")
    while not (told := [event for event in stream.events if "delivered" in event and "searched" in event]):
        stream.until("event")
    assert told[-1]["delivered"] == {"context": [[4_000, 4_000 + len(line) - 1]]}
    assert (told[-1]["functions"], told[-1]["searched"]["share"]) == ({"search": 1}, 1.0)
    window = opened_page.json(f"api/s/{session_id}/map?bins=4")
    assert (window["from"], window["to"], window["delivered"]) == (0, 8_000 + len(line), [[4_000, 4_052]])
    assert base64.b64decode(window["searched"]) == b"\1\1\1\1"


def test_only_the_page_s_own_browser_is_answered(hosts: Hosts, page: Open) -> None:
    _, session_id = opened(hosts)
    opened_page = page()
    base, port, cookie = opened_page.base, opened_page.port, opened_page.cookie
    status, headers, body = opened_page.get("api/sessions")
    assert (status, json.loads(body)["sessions"][0]["id"]) == (200, session_id)
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= headers.items()
    for refused, wanted in (
        (opened_page.raw(f"{base}api/sessions"), 403),
        (opened_page.raw("/api/sessions", cookie=cookie), 403),
        (opened_page.raw("/", cookie=cookie), 403),
        (opened_page.raw(f"/t/{'x' * 43}/"), 403),
        (opened_page.get("api/sessions", host=f"evil.example:{port}"), 421),
        (opened_page.get("api/sessions", sec_fetch_site="cross-site"), 403),
        (opened_page.raw(f"{base}api/sessions", "POST", cookie=cookie), 405),
        (opened_page.get("../../state/sessions.db"), 404),
        (opened_page.get("%2e%2e/sessions.db"), 404),
    ):
        assert (refused[0], session_id.encode() in refused[2]) == (wanted, False)
    assert opened_page.raw(f"{base}api/sessions", "HEAD", cookie=cookie)[0] == 200


def test_the_end_of_the_page_is_the_end_of_nothing_else(hosts: Hosts, page: Open) -> None:
    client, session_id = opened(hosts)
    opened_page = page()
    stream = opened_page.follow(session_id)
    stream.until("state", live=True)
    host = hosts.pid()
    assert opened_page.end() == -signal.SIGTERM
    assert client.run(session_id, "1 + 1")["result"] == "2"
    assert hosts.pid() == host
    assert host is not None
    os.kill(host, 0)
