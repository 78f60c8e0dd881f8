"""An endpoint of Chat Completions and Responses on loopback, which does to each request what its test says.

Is: a real server, with its own reading of HTTP, so that it can break off anywhere; in the test's event loop, or a
program of its own (`python -m tests.endpoints.endpoint PORT DELAY_MS`). Is not: a model: it answers `echo of` the
question's first line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """A request, as it came."""

    line: str
    headers: Mapping[str, str]
    """With names in small letters."""
    body: dict[str, Any]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def user(self) -> str:
        """What the model would be asked."""
        if "messages" in self.body:
            return str(self.body["messages"][-1]["content"])
        asked = self.body.get("input", "")
        return str(asked[-1].get("output") or asked[-1].get("content") if isinstance(asked, list) else asked)

    @property
    def tools(self) -> list[str]:
        """Names of those that the model is offered."""
        offered = self.body.get("tools", ())
        return [one["name"] if "name" in one else one["function"]["name"] for one in offered]


Call = tuple[str, str]
"""Of a tool: its name, and its arguments as a text."""
Fault = Callable[[Seen, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What is done to a request instead of an answer. The connection is closed afterwards."""


@dataclass
class Endpoint:
    """`async with Endpoint() as endpoint`: it listens at `endpoint.url`."""

    tls: ssl.SSLContext | None = None
    delay_s: float = 0.0
    reply: Callable[[Seen], str | Sequence[Call]] = lambda seen: "echo of " + seen.user.partition("\n")[0]
    faults: deque[Fault] = field(default_factory=deque)
    """For the next requests, one each; then they are answered."""
    seen: list[Seen] = field(default_factory=list)
    held: Callable[[Seen], bool] = lambda seen: False
    """Which requests have no answer for as long as this says so of them, or until their client leaves."""
    abandoned: list[Seen] = field(default_factory=list)
    """Those whose client has left meanwhile."""
    port: int = 0
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self.tls, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def serve_forever(self) -> None:
        assert self._server is not None
        await self._server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n")
        line, *rest = head.split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(line, headers, json.loads(body or b"{}"))
        self.seen.append(seen)
        if self.faults:
            await self.faults.popleft()(seen, reader, writer)
            return False
        if self.held(seen) and await self._left_while_held(seen, reader):
            self.abandoned.append(seen)
            return False
        if self.delay_s:
            await _passed(self.delay_s)
        writer.write(response(200, json.dumps(answered(seen, self.reply(seen))).encode()))
        await writer.drain()
        return True

    async def _left_while_held(self, seen: Seen, reader: asyncio.StreamReader) -> bool:
        """Whether the client has left; nobody tells of `held` that it is another by now."""
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            while self.held(seen) and not leaving.done():
                await asyncio.wait({leaving}, timeout=LOOK_S)
            has_left = leaving.done()
        finally:
            leaving.cancel()
        await asyncio.wait({leaving})  # nobody reads any more
        if not leaving.cancelled():
            leaving.exception()  # how it has left is of no interest
        return has_left


async def _passed(seconds: float) -> None:
    """A model's time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


def answered(seen: Seen, said: str | Sequence[Call], **fields: Any) -> dict[str, Any]:
    """The body of an answer, in the protocol of the request; `said`: a text, or calls of tools."""
    text, calls = (said, ()) if isinstance(said, str) else ("", said)
    usage = {"input_tokens": 10, "output_tokens": 3, "prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    whole: dict[str, Any] = {"id": "x", "created": 1, "model": "m-2026", "usage": usage}
    if "messages" in seen.body:
        message: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
        if calls:
            functions = [{"name": name, "arguments": arguments} for name, arguments in calls]
            message["tool_calls"] = [
                {"id": f"call_{at}", "type": "function", "function": one} for at, one in enumerate(functions)
            ]
        choice = {"index": 0, "finish_reason": "tool_calls" if calls else "stop", "message": message}
        return whole | {"object": "chat.completion", "choices": [choice]} | fields
    content = [{"type": "output_text", "text": text, "annotations": []}]
    output: list[dict[str, Any]] = [{"type": "reasoning", "summary": []}]
    output += [] if calls else [{"type": "message", "role": "assistant", "content": content}]
    output += [
        {"type": "function_call", "id": f"fc_{at}", "call_id": f"call_{at}", "name": name, "arguments": arguments}
        for at, (name, arguments) in enumerate(calls)
    ]
    return whole | {"object": "response", "status": "completed", "output": output} | fields


def response(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    """A whole response; `retry_after="1"` is `retry-after: 1`."""
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# Faults


def says(status: int, body: bytes | Mapping[str, Any] = b"{}", **headers: str) -> Fault:
    """A status with a body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def fault(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del seen, reader
        writer.write(response(status, data, **headers))
        await writer.drain()

    return fault


def answers(**fields: Any) -> Fault:
    """Success, with some fields of the answer's body set otherwise."""

    async def fault(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(response(200, json.dumps(answered(seen, "half", **fields)).encode()))
        await writer.drain()

    return fault


async def cut_before(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The connection ends without a byte."""
    del seen, reader
    writer.transport.abort()


async def cut_within(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """It ends within the body."""
    del reader
    writer.write(response(200, json.dumps(answered(seen, "half")).encode())[:-20])
    await writer.drain()
    writer.transport.abort()


async def never(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """No answer comes; the client leaves some day."""
    del seen, writer
    await reader.read()


async def endless(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer that has no end."""
    del seen, reader
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def in_pieces(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer in chunks of a single byte."""
    del reader
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    body = json.dumps(answered(seen, "x" * 21_000)).encode()
    writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    await writer.drain()


async def no_http(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Something that is no HTTP."""
    del seen, reader
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
    await writer.drain()


async def _serve(port: int, delay_ms: float) -> None:
    async with Endpoint(delay_s=delay_ms / 1000, port=port) as endpoint:
        print(endpoint.url, flush=True)
        await endpoint.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
