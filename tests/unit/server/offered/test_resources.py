"""Resources over the SDK's own client: what is listed, what is read, and what is said of what there is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from mcp import Client, MCPError
from mcp.client.extension import advertise
from mcp.server.lowlevel import Server
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS, TextResourceContents

from rlm_kernel_mcp.errors import InvalidInput, SessionNotFound
from rlm_kernel_mcp.server.mcp_server import LazyRegistry, build_server, offer_resources
from rlm_kernel_mcp.server.offered import session_view
from rlm_kernel_mcp.server.offered.resources import LISTED
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.reports import Counters, SessionList, SessionSummary
from rlm_kernel_mcp.session.trace.reports import TraceEvent, TracePage
from rlm_kernel_mcp.settings import load_settings
from tests.sessions import WAIT_S

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

pytestmark = pytest.mark.anyio
MOMENT: Final = "2026-11-30T10:00:00.000Z"
EVENT: Final = TraceEvent(MOMENT, 1, "run_repl", "mcp", "ok", "1 + 1", 3, {}, code="1 + 1", result="2")
COUNT: Final = 2 * LISTED + 3


class Sessions:
    """Stands where the session layer stands: sessions without number, each with a trace of two pages."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.asked: list[Any] = []

    async def list_sessions(self, *, state: str, limit: int, offset: int, caller: Caller | None) -> SessionList:
        self.asked.append((state, caller))
        if self.failure is not None:
            raise self.failure
        rows = tuple(row(place) for place in range(offset, min(offset + limit, COUNT)))
        return SessionList(rows, max(0, COUNT - offset - limit), offset)

    async def get_trace(self, session_id: str, *, offset: int, **wanted: Any) -> TracePage:
        self.asked.append((session_id, offset, wanted))
        if self.failure is not None:
            raise self.failure
        return TracePage((replace(EVENT, summary=f"from {offset}"),), None if offset else 700)

    async def close(self) -> None:
        """There is nothing to end."""


def row(place: int) -> SessionSummary:
    counters = Counters(step_index=place)
    row = SessionSummary(f"s_{place}", "idle", MOMENT, MOMENT, place, "text", 9, counters)
    return replace(row, question="secret", client="secret")


async def notebook(_registry: Registry, session_id: str) -> tuple[str, int]:
    if session_id == "s_large":
        raise InvalidInput("It would have more than 10 characters.", "Have the user write it.")
    return '{"cells": []}', int(session_id == "s_damaged")


def offering(sessions: Sessions, caller: Caller | None = None) -> Server[LazyRegistry]:
    async def open_registry() -> Registry:
        return cast("Registry", sessions)

    server = build_server(open_registry)
    offer_resources(server, lambda _ctx: caller, notebook)
    return server


@pytest.fixture(params=["legacy", "auto"])
def mode(request: pytest.FixtureRequest) -> str:
    """Both eras of the protocol."""
    return str(request.param)


async def test_every_session_is_listed_once_page_by_page_with_its_two_resources(mode: str) -> None:
    """As the tool lists them: of whoever asks, ended ones too, and nothing that is for people alone."""
    sessions, caller = Sessions(), Caller.of("a connection", load_settings("/", {}))
    found, pages, cursor = [], 0, None
    async with asyncio.timeout(WAIT_S), Client(offering(sessions, caller), mode=mode) as client:
        while pages == 0 or cursor is not None:
            listed = await client.list_resources(cursor=cursor)
            pages, cursor = pages + 1, listed.next_cursor
            found += listed.resources
    assert (pages, sessions.asked) == (3, [("all", caller)] * 3)
    assert [one.uri for one in found] == [
        f"rlm://sessions/s_{place}/{kind}" for place in range(COUNT) for kind in ("trace", "notebook")
    ]
    assert {one.mime_type for one in found} == {"text/markdown", "application/x-ipynb+json"}
    assert "secret" not in repr(found)
    assert found[6].description == "Session s_3: idle, 3 steps, last used 2026-11-30T10:00:00.000Z."


async def test_the_page_is_listed_first_and_once_for_a_client_that_shows_pages(mode: str) -> None:
    shows = [advertise(session_view.EXTENSION, {"mimeTypes": [session_view.MIME_TYPE]})]
    async with asyncio.timeout(WAIT_S), Client(offering(Sessions()), mode=mode, extensions=shows) as client:
        first = await client.list_resources()
        second = await client.list_resources(cursor=first.next_cursor)
    assert (first.resources[0].uri, first.resources[0].meta) == (session_view.URI, session_view.META)
    assert [one.uri for one in (*first.resources[1:], *second.resources) if one.uri.startswith("ui:")] == []


async def test_it_says_how_the_resources_of_a_session_are_called(mode: str) -> None:
    async with asyncio.timeout(WAIT_S), Client(offering(Sessions()), mode=mode) as client:
        found = (await client.list_resource_templates()).resource_templates
    assert [one.uri_template for one in found] == [
        "rlm://sessions/{session_id}/trace{?offset}",
        "rlm://sessions/{session_id}/notebook",
    ]


async def read(client: Client, uri: str) -> TextResourceContents:
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    assert contents.uri == uri
    return contents


async def test_a_page_of_a_trace_ends_with_the_uri_of_the_next(mode: str) -> None:
    """However long a trace is, what is read of it at once is bounded, and its end says how it goes on."""
    sessions = Sessions()
    async with asyncio.timeout(WAIT_S), Client(offering(sessions), mode=mode) as client:
        first = await read(client, "rlm://sessions/s_1/trace")
        last_line = first.text.rstrip().splitlines()[-1]
        assert last_line == "The rest: read rlm://sessions/s_1/trace?offset=700."
        second = await read(client, last_line.removeprefix("The rest: read ").rstrip("."))
    assert (first.mime_type, second.mime_type) == ("text/markdown", "text/markdown")
    assert first.text.startswith("# Trace of session s_1\n")
    assert second.text.startswith("# Trace of session s_1 from offset 700 on\n")
    assert "The rest" not in second.text
    assert [(asked[0], asked[1], asked[2]["detail"]) for asked in sessions.asked] == [
        ("s_1", 0, "full"),
        ("s_1", 700, "full"),
    ]
    assert all(asked[2]["max_output_chars"] == 40_000 for asked in sessions.asked)


async def test_a_notebook_is_read_as_it_is_written_and_what_is_damaged_is_told_beside_it(mode: str) -> None:
    async with asyncio.timeout(WAIT_S), Client(offering(Sessions()), mode=mode) as client:
        whole = await read(client, "rlm://sessions/s_1/notebook")
        damaged = await read(client, "rlm://sessions/s_damaged/notebook")
    assert (whole.mime_type, whole.text, whole.meta) == ("application/x-ipynb+json", '{"cells": []}', None)
    assert damaged.meta is not None
    assert "1 event" in damaged.meta["rlm/note"]


async def test_of_one_client_one_notebook_is_written_at_a_time() -> None:
    """The threads that read the record are few, and those of all clients."""
    under_way, most, begun, may_end = 0, 0, asyncio.Event(), asyncio.Event()

    async def slow(_registry: Registry, _session_id: str) -> tuple[str, int]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        begun.set()
        await may_end.wait()
        under_way -= 1
        return "{}", 0

    async def open_registry() -> Registry:
        return cast("Registry", Sessions())

    server = build_server(open_registry)
    offer_resources(server, lambda _ctx: None, slow)
    async with asyncio.timeout(WAIT_S), Client(server, mode="legacy") as client, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(read(client, f"rlm://sessions/s_{number}/notebook")) for number in range(3)]
        await begun.wait()
        await read(client, "rlm://sessions/s_1/trace")  # behind the others, and answered
        may_end.set()
    assert [one.result().text for one in asked] == ["{}"] * 3
    assert most == 1


async def test_the_page_is_read_without_a_session_layer(mode: str) -> None:
    """A client may fetch it before anything is opened."""

    async def open_registry() -> Registry:
        raise AssertionError

    server = build_server(open_registry)
    offer_resources(server, lambda _ctx: None, notebook)
    async with asyncio.timeout(WAIT_S), Client(server, mode=mode) as client:
        assert await read(client, session_view.URI) == session_view.contents()


@pytest.mark.parametrize(
    "uri",
    [
        "rlm://sessions/s_1",
        "rlm://sessions/s_1/notebook?offset=3",
        "rlm://sessions/s_1/trace?offset=-1",
        "rlm://sessions/s_1/trace?offset=9999999999999999",
        "rlm://sessions/s_1/trace/",
        "rlm://sessions//trace",
        "rlm://sessions/../trace",
        "rlm://sessions/s_1/../s_2/trace",
        "file:///etc/passwd",
        "ui://rlm/other",
        "rlm://sessions/\x1b[2J" + "x" * 9_000,
    ],
)
async def test_what_is_no_resource_is_refused_with_what_there_is(uri: str) -> None:
    """In words that are bounded and safe to show; nothing is opened for it but a session of that name."""
    sessions = Sessions(SessionNotFound("There is no session '..'; this server drives no live session."))
    async with asyncio.timeout(WAIT_S), Client(offering(sessions), mode="legacy") as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
    error = refused.value.error
    assert (error.code, len(error.message) < 400, error.message.isprintable()) == (INVALID_PARAMS, True, True)
    assert error.message.startswith(("There is no resource ", "SESSION_NOT_FOUND: There is no session '..'"))


async def test_a_cursor_that_nobody_gave_is_refused() -> None:
    async with asyncio.timeout(WAIT_S), Client(offering(Sessions()), mode="legacy") as client:
        with pytest.raises(MCPError, match="There is no cursor '7 or 8'"):
            await client.list_resources(cursor="7 or 8")


async def test_a_notebook_that_is_too_large_is_refused_with_what_to_do() -> None:
    async with asyncio.timeout(WAIT_S), Client(offering(Sessions()), mode="legacy") as client:
        with pytest.raises(MCPError, match=r"more than 10 characters\. Have the user write it\.") as refused:
            await client.read_resource("rlm://sessions/s_large/notebook")
    assert refused.value.error.code == INVALID_PARAMS


async def test_what_fails_inside_tells_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK would give its client the exception's text."""
    sessions = Sessions(RuntimeError("the secret is in /a/host/path"))
    async with asyncio.timeout(WAIT_S), Client(offering(sessions), mode="legacy") as client:
        for asking in (client.list_resources(), client.read_resource("rlm://sessions/s_1/trace")):
            with pytest.raises(MCPError) as failed:
                await asking
            assert failed.value.error.code == INTERNAL_ERROR
            assert failed.value.error.message.endswith("Ask again; if it fails again, tell the user.")
            assert "secret" not in failed.value.error.message
    assert "the secret is in" in caplog.text
