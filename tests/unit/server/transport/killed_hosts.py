"""`python killed_hosts.py CASE`: a connection whose host is killed at every moment in turn, and goes on with another.

Is: a program of one thread, which may fork: it is the client and the front; each host is a child of it that serves by
`streams_over`, and kills itself right before one of its calls to the operating system. What became of every request is
printed as JSON, one line for each moment. Is not: a test (`test_page.py`), or the front of a client.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCRequest, JSONRPCResponse

from rlm_kernel_mcp.front import left
from rlm_kernel_mcp.server.transport.page import Page
from rlm_kernel_mcp.server.transport.wire import streams_over

CALLS: Final = ("pread", "pwrite", "read", "readv", "write")
PIPE: Final = 1 << 20
"""Bytes that the client's pipes hold: all of a case is in them at once, so that nobody has to wait."""


def request(request_id: object, **params: object) -> bytes:
    return json.dumps({"method": "m", "params": params, "jsonrpc": "2.0", "id": request_id}).encode() + b"\n"


INITIALIZE: Final = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "é", "version": "1"}}
BEGIN: Final = (
    json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": INITIALIZE}).encode()
    + b'\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
)
CASES: Final[dict[str, bytes]] = {
    "short": BEGIN + request('a\u00e9"') + b"\n" + request(2, answer=6_000),
    "turns": BEGIN + b"".join(request(number, text="x" * 3_000) for number in range(1, 4)),
    "long": BEGIN + request(1, text="x" * 140_000) + request(2) + request(3, text="x" * 70_000),
    "refused": BEGIN + request(1.5) + b"[%s]\n" % request(2).rstrip() + request(3),
    "last": BEGIN + request("1" * 240) + request(2).rstrip(),
}


async def serve(wire_in: int, wire_out: int, page: int, log: Callable[[object], None]) -> None:
    """Answer each request by its id, and note that it was served."""
    kept = Page(page)
    async with streams_over(wire_in, wire_out, lambda: None, lambda _request: 60.0, kept) as (read_side, write_side):
        async for item in read_side:
            if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCRequest):
                asked = item.message
                log(asked.params if asked.method == "initialize" else asked.id)
                size = int((asked.params or {}).get("answer", 0))
                result: dict[str, Any] = {"of": asked.id, "text": "y" * size, "protocolVersion": "2025-06-18"}
                await write_side.send(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=asked.id, result=result)))
        await write_side.aclose()
    kept.close()


def killed_at(moment: int) -> None:
    """Let this process be killed right before its so-manieth call."""
    left_over = moment

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*arguments: Any) -> Any:
            nonlocal left_over
            left_over -= 1
            if left_over < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        return calling

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def host(wire_in: int, wire_out: int, page: int, log: int, moment: int | None) -> bool:
    """One host, from its begin to its end; whether it was killed."""
    child = os.fork()
    if child == 0:
        write = os.write
        if moment is not None:
            killed_at(moment)
        asyncio.run(
            serve(wire_in, wire_out, page, lambda said: (write(log, json.dumps(said).encode() + b"\n"), None)[1])
        )
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a host failed")
    return os.WIFSIGNALED(status)


def wide_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    return reading, writing


def all_of(descriptor: int) -> list[str]:
    """The lines that are in a pipe whose other end is closed."""
    data = b""
    while piece := os.read(descriptor, PIPE):
        data += piece
    os.close(descriptor)
    return data.decode().split("\n")


def lives(said: bytes, moment: int) -> dict[str, Any] | None:
    """A connection whose first host is killed at this moment; None where that host lived to the end."""
    (wire_in, client_out), (client_in, wire_out), (log_in, log) = wide_pipe(), wide_pipe(), wide_pipe()
    (err_in, err), page = wide_pipe(), os.memfd_create("page")
    os.write(client_out, said)
    os.close(client_out)
    was_killed = host(wire_in, wire_out, page, log, moment)
    if was_killed:
        left.settle(page, wire_out, err)
        host(wire_in, wire_out, page, log, None)
    for descriptor in (wire_in, wire_out, log, err, page):
        os.close(descriptor)
    lines = [line for line in all_of(client_in) if line]
    served = [json.loads(line) for line in all_of(log_in) if line]
    return {"lines": lines, "served": served, "said": all_of(err_in)} if was_killed else None


def blocked() -> dict[str, Any]:
    """A client that does not read: its host is killed in the middle of a line, and then it reads."""
    (wire_in, client_out), (client_in, wire_out), (log_in, log) = wide_pipe(), os.pipe(), wide_pipe()
    (err_in, err), page = wide_pipe(), os.memfd_create("page")
    os.write(client_out, BEGIN + request(1, answer=60_000) + request(2, answer=60_000) + request(3))
    child = os.fork()
    if child == 0:
        killing = lambda *_arguments: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731 - as short as can be
        asyncio.SelectorEventLoop.add_writer = killing  # type: ignore[method-assign, assignment]
        asyncio.run(serve(wire_in, wire_out, page, lambda _said: None))
    os.waitpid(child, 0)
    os.close(client_out)
    reader = os.fork()
    if reader == 0:
        os.close(wire_out)
        for line in all_of(client_in):
            os.write(log, line.encode() + b"\n")
        os._exit(0)
    left.settle(page, wire_out, err)
    host(wire_in, wire_out, page, os.open(os.devnull, os.O_WRONLY), None)
    os.close(wire_out)
    os.waitpid(reader, 0)
    os.close(log)
    os.close(err)
    return {"lines": [line for line in all_of(log_in) if line], "said": all_of(err_in)}


def main(case: str) -> None:
    if case == "blocked":
        print(json.dumps(blocked()))
        return
    moment = 0
    while (became := lives(CASES[case], moment)) is not None:
        print(json.dumps({"moment": moment, **became}))
        moment += 1


if __name__ == "__main__":
    main(sys.argv[1])
