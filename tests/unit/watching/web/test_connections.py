"""Whoever connects to the live page and asks nothing, or not to the end, has an end; and there are so many at a time.

A server of uvicorn's own, over real sockets; its clock is the loop's, which the tests do not wait for: they look at
whose end has come by what was read.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import uvicorn

from rlm_kernel_mcp.watching.web import connections
from rlm_kernel_mcp.watching.web.connections import BoundedConnection

WAIT_S: Final = 20
ASK: Final = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """A server whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.port = 0
        self.asked = asyncio.Semaphore(0)
        self.let_go = asyncio.Event()
        self.connections: set[Any] = set()
        self._open: list[asyncio.StreamWriter] = []

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self.asked.release()
        await self.let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def connect(self, says: bytes = b"") -> Ends:
        found = await asyncio.open_connection("127.0.0.1", self.port)
        found[1].write(says)
        self._open.append(found[1])
        return found

    def close(self) -> None:
        self.let_go.set()
        for one in self._open:
            one.close()


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    made = Served()
    config = uvicorn.Config(
        made,
        loop="asyncio",
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        log_level="error",
        timeout_keep_alive=WAIT_S,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        made.port = listener.getsockname()[1]
        await server.startup([listener])
        try:
            async with asyncio.timeout(WAIT_S):
                made.connections = server.server_state.connections
                yield made
        finally:
            made.close()
            await server.shutdown([listener])


async def is_ended(ends: Ends) -> bool:
    """Once it is: whether nothing was said to it."""
    try:
        return await ends[0].read() == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("says", [b"", b"GET / HTTP/1.1\r\nHost: he"], ids=["silent", "half"])
def test_one_that_does_not_ask_to_the_end_is_ended(says: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.01)

    async def look() -> None:
        async with served() as server:
            assert await is_ended(await server.connect(says))

    asyncio.run(look())


def test_nor_has_one_that_was_answered_time_without_end_for_its_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look() -> None:
        async with served() as server:
            server.let_go.set()
            ends = await server.connect(ASK)
            await ends[0].readuntil(b"ok")
            monkeypatch.setattr(connections, "IDLE_S", 0.01)
            ends[1].write(b"GET /")
            assert await is_ended(ends)

    asyncio.run(look())


def test_while_one_is_being_answered_no_clock_runs() -> None:
    async def look() -> None:
        async with served() as server:
            await server.connect(ASK)
            await server.asked.acquire()
            assert [one._late for one in server.connections] == [None]

    asyncio.run(look())


def test_one_too_many_takes_the_place_of_the_oldest_that_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 3)
    monkeypatch.setattr(connections, "IDLE_S", WAIT_S)

    async def look() -> None:
        async with served() as server:
            first = await server.connect(ASK)
            await server.asked.acquire()
            second, third, fourth = [await server.connect() for _ in range(3)]
            assert await is_ended(second)
            fourth[1].write(ASK)
            await server.asked.acquire()
            fifth = await server.connect(ASK)
            assert await is_ended(third)
            await server.asked.acquire()
            sixth = await server.connect()
            assert await is_ended(sixth), "where all others are being answered it is the new one"
            server.let_go.set()
            for one in (first, fourth, fifth):
                await one[0].readuntil(b"ok")

    asyncio.run(look())
