"""Streams of messages as server-sent events, to as many readers as there is room for.

Is: the form on the wire, a sign of life, and the end of a reader that does not read. Is not: the messages
(`watching/live/session_stream.py`, `watching/record/listed.py`). Above: `app.py`. Below: those two, sse-starlette.

A message is made when the one before it has been taken: of a reader that does not read no more waits than the system's
buffers hold and the host keeps for a watcher (1 MB); after `SEND_S` its connection ends, and it comes back by its last
id.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any, Final

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from rlm_kernel_mcp.errors import RequestRefused, SessionNotFound
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.watching.live.session_stream import SessionStream
from rlm_kernel_mcp.watching.record.listed import Changes, Listed

PING_S: Final = 15
RETRY_MS: Final = 2_000
SEND_S: Final = 30.0
"""How long a reader may take for a message."""
STREAMS_MAX: Final = 48
"""Of all readers of a server. A host tells 64 watchers, and others may be there."""
LOOK_S: Final = 1.0
"""Between two looks at the list of sessions."""


class Readers:
    """How many read a stream just now."""

    def __init__(self) -> None:
        self.count = 0

    def require_room(self) -> None:
        """Raises: RequestRefused: there are too many."""
        if self.count >= STREAMS_MAX:
            raise RequestRefused(
                f"{self.count} pages read a stream here, and there may be {STREAMS_MAX}.", "Close one of them."
            )

    @contextmanager
    def one(self) -> Iterator[None]:
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


async def session_events(stream: SessionStream, readers: Readers) -> AsyncIterator[ServerSentEvent]:
    """A session's stream."""
    with readers.one():
        yield ServerSentEvent(retry=RETRY_MS)
        async with aclosing(stream.messages()) as messages:
            try:
                async for sent in messages:
                    yield ServerSentEvent(encoded(sent.message), id=sent.cursor or None)
            except SessionNotFound:  # its record is damaged now: whoever comes back is told so
                return


async def list_events(store: Store, readers: Readers) -> AsyncIterator[ServerSentEvent]:
    """What becomes of the list of sessions: all of it first."""
    with readers.one():
        yield ServerSentEvent(retry=RETRY_MS)
        changes = Changes(store, Listed(store))
        while True:
            found = await in_reader(changes.look)
            if found is not None:
                yield ServerSentEvent(encoded(found))
            await anyio.sleep(LOOK_S)


class Events(EventSourceResponse):
    """An answer that has events until its reader leaves, or takes none for too long: a tab that sleeps is no fault."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(SendTimeoutError):
            await super().__call__(scope, receive, send)


def response(events: AsyncIterator[ServerSentEvent]) -> Events:
    """The answer that has them."""
    return Events(
        events,
        ping=PING_S,
        sep="\n",
        ping_message_factory=lambda: ServerSentEvent(comment=""),
        send_timeout=SEND_S,
    )


def encoded(message: Any) -> str:
    """A message as JSON, in ASCII: lone surrogates pass too, and no line end is in it."""
    return json.dumps(message, separators=(",", ":"))
