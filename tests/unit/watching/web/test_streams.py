"""A stream of events has its form, and there are no more of them than there is room for."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from sse_starlette import ServerSentEvent

from rlm_kernel_mcp.errors import RequestRefused, SessionNotFound
from rlm_kernel_mcp.watching.live.session_stream import Sent
from rlm_kernel_mcp.watching.web import streams
from rlm_kernel_mcp.watching.web.streams import (
    STREAMS_MAX,
    Readers,
    encoded,
    list_events,
    response,
    session_events,
)
from tests.unit.watching.recorded import Recorded, looked_at

pytestmark = pytest.mark.anyio


class Scripted:
    """In place of a session's stream."""

    def __init__(self, *sent: Sent) -> None:
        self._sent, self.has_ended = sent, False

    async def messages(self) -> AsyncGenerator[Sent, None]:
        try:
            for sent in self._sent:
                yield sent
            raise SessionNotFound("its record is damaged")
        finally:
            self.has_ended = True


def lines(event: ServerSentEvent) -> list[str]:
    return event.encode().decode().split("\r\n")


async def test_an_event_has_its_id_and_one_line_of_data() -> None:
    stream: Any = Scripted(Sent({"type": "end", "status": "idle"}, "7"), Sent({"type": "end", "status": "dead"}))
    found = [lines(event) async for event in session_events(stream, Readers())]
    assert found == [
        ["retry: 2000", "", ""],
        ["id: 7", 'data: {"type":"end","status":"idle"}', "", ""],
        ['data: {"type":"end","status":"dead"}', "", ""],
    ]


async def test_a_reader_that_leaves_ends_its_stream_and_makes_room() -> None:
    scripted: Any = Scripted(Sent({"type": "end", "status": "idle"}))
    readers = Readers()
    events: Any = session_events(scripted, readers)
    await anext(events)
    await anext(events)
    assert readers.count == 1
    await events.aclose()
    assert (readers.count, scripted.has_ended) == (0, True)


async def test_the_connection_of_a_reader_that_takes_nothing_ends_and_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "SEND_S", 0.01)
    readers = Readers()
    stream: Any = Scripted(Sent({"type": "end", "status": "idle"}))

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()

    async def receive() -> Any:
        await anyio.sleep_forever()

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with anyio.fail_after(60):
        await response(session_events(stream, readers))(scope, receive, send)
    assert readers.count == 0


def test_there_is_room_for_so_many() -> None:
    readers = Readers()
    readers.count = STREAMS_MAX
    with pytest.raises(RequestRefused, match=f"{STREAMS_MAX} pages"):
        readers.require_room()


def test_nothing_in_a_text_can_end_a_line() -> None:
    text = "a\r\nid: 1\n\ndata: x\u2028\u0085\ud800\x00"
    line = encoded({"text": text})
    assert line.isascii()
    assert line.splitlines() == [line]
    assert json.loads(line) == {"text": text}


async def test_the_list_is_told_at_first_whole(tmp_path: Path) -> None:
    session, store = Recorded(tmp_path), looked_at(tmp_path)
    events: Any = list_events(store, Readers())
    with anyio.fail_after(60):
        assert lines(await anext(events))[0] == "retry: 2000"
        message = json.loads(lines(await anext(events))[0].removeprefix("data: "))
    assert [row["id"] for row in message["sessions"]] == ["s_1"]
    await events.aclose()
    store.close()
    session.close()
