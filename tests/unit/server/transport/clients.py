"""Clients of `serve_connection` in the same event loop: their ends of the wire, and how many things a process has."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import pty
import socket
import sys
import threading
import tty
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.server.mcp_server import build_server
from rlm_kernel_mcp.server.transport.client_log import ClientLog, logged_at
from rlm_kernel_mcp.server.transport.connection import serve_connection
from rlm_kernel_mcp.server.transport.ends import Sink, Source
from rlm_kernel_mcp.server.transport.page import Page
from rlm_kernel_mcp.server.transport.reader import Reader
from rlm_kernel_mcp.server.transport.unanswered import Unanswered
from rlm_kernel_mcp.server.transport.wire import Wire
from rlm_kernel_mcp.server.transport.writer import Writer
from tests.sessions import WAIT_S

KINDS: Final = ("pipes", "sockets", "terminal")
PARTS: Final = (ClientLog, Page, Reader, Sink, Source, Unanswered, Wire, Writer)
INITIALIZE: Final = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}


class NoRegistry:
    """What a connection opens that calls no tool."""

    async def close(self) -> None:
        """Nothing was opened."""


async def open_nothing() -> Any:
    return NoRegistry()


class Client:
    """The descriptors that a server is given, and the client's own ends of them."""

    def __init__(self, kind: str) -> None:
        self._last = 0
        self._read = b""
        if kind == "pipes":
            self.server_in, self.out = os.pipe()
            self.incoming, self.server_out = os.pipe()
        elif kind == "sockets":
            (self.out, self.server_in), (self.incoming, self.server_out) = _sockets(), _sockets()
        else:
            self.out, self.server_in = pty.openpty()
            tty.setraw(self.server_in)
            self.incoming, self.server_out = os.dup(self.out), os.dup(self.server_in)
        self.err, self.server_err = os.pipe()
        os.set_blocking(self.incoming, False)

    def send(self, method: str, params: dict[str, Any] | None = None, *, asks: bool = True) -> int:
        """Send a request, or a notification; returns the request's id."""
        self._last += asks
        body = {"jsonrpc": "2.0", "method": method, "params": params or {}} | ({"id": self._last} if asks else {})
        os.write(self.out, json.dumps(body).encode() + b"\n")
        return self._last

    async def line(self) -> Any:
        """The next line that the server writes."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._read:
            with contextlib.suppress(BlockingIOError):
                piece = os.read(self.incoming, 1 << 16)
                assert piece, "the server has ended"
                self._read += piece
                continue
            ready = asyncio.Event()
            loop.add_reader(self.incoming, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(self.incoming)
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    async def ask(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """The result of a request."""
        asked = self.send(method, params)
        async with asyncio.timeout(WAIT_S):
            answer = await self.line()
        assert answer["id"] == asked
        return answer["result"]

    async def begin(self) -> None:
        """What every client does first."""
        await self.ask("initialize", INITIALIZE)
        self.send("notifications/initialized", asks=False)

    async def serve(self, page: int | None = None) -> None:
        """Serve this client until its input ends."""
        server = build_server(open_nothing)
        async with logged_at(self.server_err):
            await serve_connection(server, self.server_in, self.server_out, page)

    def end_input(self) -> None:
        """As a client does that has nothing more to ask."""
        os.close(self.out)
        self.out = -1

    def close(self) -> None:
        """Close what is open of both sides."""
        for descriptor in (self.server_in, self.out, self.incoming, self.server_out, self.err, self.server_err):
            if descriptor >= 0:
                os.close(descriptor)


@asynccontextmanager
async def served(client: Client, page: int | None = None) -> AsyncIterator[asyncio.Task[None]]:
    """The task that serves the client; then the connection is ended as it is when the client's front is gone."""
    serving = asyncio.create_task(client.serve(page))
    try:
        yield serving
    finally:
        serving.cancel()
        client.close()
        if page is not None:
            os.close(page)
    await asyncio.wait([serving], timeout=WAIT_S)
    assert serving.done()


def threads_at_work() -> list[threading.Thread]:
    """All but idle ones of a pool, which gets one more whenever its threads are a moment late to say that they are."""
    at = sys._current_frames()
    tops = [(thread, at.get(thread.ident or 0)) for thread in threading.enumerate()]
    return [thread for thread, top in tops if top is None or top.f_code.co_name != "_worker"]


async def things() -> Counter[str]:
    """What a connection could leave behind in this process."""
    # asyncio keeps a cancelled timer, and the context that it was made in, while an earlier one runs, such as another
    # test's registry has; it lets all of them go once they are more than half of many.
    for timer in [asyncio.get_running_loop().call_later(WAIT_S, int) for _ in range(1_000)]:
        timer.cancel()
    await asyncio.sleep(0)
    gc.collect()
    kinds = Counter(map(type, gc.get_objects()))
    return Counter({kind.__name__: kinds[kind] for kind in PARTS}) + Counter(
        threads=len(threads_at_work()),
        descriptors=len([*Path("/proc/self/fd").iterdir()]),
        tasks=len(asyncio.all_tasks()),
    )


async def left_behind(before: Counter[str]) -> Counter[str]:
    """What there is more than before; it is given time to become nothing, since others end too."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WAIT_S):
            while await things() - before:  # noqa: ASYNC110
                await asyncio.sleep(0)
    return await things() - before


async def come_and_go(count: int, at_once: int) -> None:
    """So many connections of every kind, each ended by the end of its input or by that of its front."""
    for first in range(0, count, at_once):
        await asyncio.gather(*(_come_and_go(number) for number in range(first, min(first + at_once, count))))


async def _come_and_go(number: int) -> None:
    client = Client(KINDS[number % len(KINDS)])
    page = os.memfd_create("page") if number % 4 else None
    async with served(client, page) as serving:
        await client.begin()
        await client.ask("tools/list" if number % 5 else "ping")
        if number % 2 and not os.isatty(client.out):  # of a terminal's, only a hang-up would be an end
            client.end_input()
            await asyncio.wait([serving], timeout=WAIT_S)
            assert serving.done()


def _sockets() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()
