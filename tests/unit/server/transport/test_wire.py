"""The wire: lines in, lines out, over any two descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from mcp.shared.message import SessionMessage
from mcp.types import INTERNAL_ERROR, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from rlm_kernel_mcp.server.transport import lines
from rlm_kernel_mcp.server.transport.ends import Sink, Source
from rlm_kernel_mcp.server.transport.frames import Frame, read_frame
from rlm_kernel_mcp.server.transport.reader import Reader
from rlm_kernel_mcp.server.transport.unanswered import REQUESTS_MAX, Unanswered
from rlm_kernel_mcp.server.transport.wire import ReadSide, WriteSide, streams_over

pytestmark = pytest.mark.anyio

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


class Pipes:
    """A client's two ends of the wire."""

    def __init__(self) -> None:
        self.server_in, self.client_out = os.pipe()
        self.client_in, self.server_out = os.pipe()

    def close(self) -> None:
        for descriptor in (self.server_in, self.client_out, self.client_in, self.server_out):
            try:
                os.close(descriptor)
            except OSError:
                continue


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


@asynccontextmanager
async def serving(pipes: Pipes, ended: list[str]) -> AsyncIterator[tuple[ReadSide, WriteSide]]:
    async with (
        asyncio.timeout(60),
        streams_over(pipes.server_in, pipes.server_out, lambda: ended.append("ended")) as (read_side, write_side),
    ):
        yield read_side, write_side
        await write_side.aclose()


async def test_a_client_that_reads_only_when_it_has_written_all_is_served(pipes: Pipes) -> None:
    """What is refused meanwhile waits behind the answer that the client does not read yet, and the others do not."""
    answer = SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={"a": "x" * 1_000_000}))
    refused = [b'{"id":5,"method":"x",}\n', b'{"jsonrpc":"2.0","id":6.5,"method":"x"}\n', b'[{"id":7,"method":"x"}]\n']
    async with serving(pipes, []) as (read_side, write_side):
        begun = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipes.client_in, begun.set)
        os.write(pipes.client_out, PING + b"\n")
        await read_side.receive()
        answering = asyncio.create_task(write_side.send(answer))
        await begun.wait()
        asyncio.get_running_loop().remove_reader(pipes.client_in)
        os.write(pipes.client_out, b"".join(line + PING + b"\n" for line in refused))
        for _ in refused:
            await read_side.receive()
        with os.fdopen(os.dup(pipes.client_in), "rb") as lines:
            read = await asyncio.to_thread(lambda: [json.loads(lines.readline()) for _ in range(4)])
        assert [line["id"] for line in read] == [1, 5, 6.5, 7]
        await answering
        os.close(pipes.client_out)


def test_what_is_refused_and_not_yet_written_takes_the_room_of_requests() -> None:
    """Else a client that does not read would fill the memory with its bad lines."""
    unanswered = Unanswered(1_000, lambda _request: 0.0)
    rooms = []
    for held, let_go in [*[(1, 0)] * REQUESTS_MAX, (0, 1), (1_000, 1), (0, 1_000)]:
        if held:
            unanswered.hold(held)
        if let_go:
            unanswered.let_go(let_go)
        rooms.append(unanswered.has_room)
    assert rooms == [*[True] * (REQUESTS_MAX - 1), False, True, False, True]


async def test_messages_go_in_and_out_and_the_end_of_the_input_ends_the_stream(pipes: Pipes) -> None:
    """The last line needs no newline."""
    ended: list[str] = []
    async with serving(pipes, ended) as (read_side, write_side):
        os.write(pipes.client_out, PING + b"\n" + PING)
        os.close(pipes.client_out)
        messages = [item async for item in read_side]
        assert [type(item.message) for item in messages if isinstance(item, SessionMessage)] == [JSONRPCRequest] * 2
        await write_side.send(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={"é": 1})))
    assert ended == ["ended"]
    assert os.read(pipes.client_in, 1_000) == '{"jsonrpc":"2.0","id":1,"result":{"é":1}}\n'.encode()


async def test_a_bad_line_is_answered_past_the_server_and_the_next_one_is_served(pipes: Pipes) -> None:
    """Its sender does not wait for ever, and nobody else notices."""
    async with serving(pipes, []) as (read_side, _):
        os.write(pipes.client_out, b"garbage\n" + b'{"id":5,"method":"x",}\n' + PING + b"\n")
        item = await read_side.receive()
        assert isinstance(item, SessionMessage)
        assert isinstance(item.message, JSONRPCRequest)
        answer = await asyncio.to_thread(os.read, pipes.client_in, 1_000)
        assert json.loads(answer)["id"] == 5
        os.close(pipes.client_out)
        assert [item async for item in read_side] == []


async def test_a_client_that_does_not_read_stops_nobody_and_can_be_left(pipes: Pipes) -> None:
    """A full pipe holds up neither the event loop nor the end of the server, and no thread is left in it."""
    before = threading.enumerate()
    async with asyncio.timeout(60):
        with pytest.raises(BaseExceptionGroup):  # noqa: PT012 - leaving by an exception is the point
            async with streams_over(pipes.server_in, pipes.server_out, lambda: None) as (_, write_side):
                big = JSONRPCResponse(jsonrpc="2.0", id=1, result={"a": "x" * 1_000_000})
                await write_side.send(SessionMessage(big))
                raise RuntimeError("the server ends")
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
    os.close(pipes.server_out)
    with os.fdopen(os.dup(pipes.client_in), "rb") as begun:
        assert b"\n" not in begun.read()  # to its end: nothing of the connection holds the pipe any more


async def test_short_answers_to_a_client_that_does_not_read_wait_outside_the_event_loop(pipes: Pipes) -> None:
    """The pipe takes what it has room for; what comes then waits in the thread, and arrives whole and in order."""
    count = 200
    answers = [JSONRPCResponse(jsonrpc="2.0", id=number, result={"a": "x" * 1_000}) for number in range(count)]

    async def answer(write_side: WriteSide) -> None:
        for message in answers:
            await write_side.send(SessionMessage(message))

    async with serving(pipes, []) as (_, write_side):
        answering = asyncio.create_task(answer(write_side))
        await asyncio.wait({answering}, timeout=0.2)
        assert not answering.done()
        with os.fdopen(os.dup(pipes.client_in), "rb") as lines:
            read = await asyncio.to_thread(lambda: [json.loads(lines.readline()) for _ in range(count)])
        assert [line["id"] for line in read] == list(range(count))
        await answering
        os.close(pipes.client_out)


async def test_an_answer_that_was_written_is_gone_before_the_next_one_comes(pipes: Pipes) -> None:
    """One of 16 MB would be kept in memory for each idle client otherwise."""
    gone = asyncio.Event()
    async with serving(pipes, []) as (_, write_side):
        answer = SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={"a": "x" * 100_000}))
        weakref.finalize(answer, gone.set)
        sending = asyncio.create_task(write_side.send(answer))
        del answer
        with os.fdopen(os.dup(pipes.client_in), "rb") as lines:
            assert (await asyncio.to_thread(lines.readline)).endswith(b"\n")
        await sending
        del sending
        await gone.wait()
        os.close(pipes.client_out)


async def test_a_client_that_is_gone_ends_the_write_side(pipes: Pipes) -> None:
    """Later answers are refused to the server, which drops them."""
    os.close(pipes.client_in)
    async with serving(pipes, []) as (read_side, write_side):
        answer = SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={}))
        await write_side.send(answer)
        os.close(pipes.client_out)
        assert [item async for item in read_side] == []


async def test_a_line_longer_than_the_limit_is_refused_and_the_next_one_read(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by the limit, and the request behind the long line is served."""
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100_000)
    long_line = b'{"jsonrpc":"2.0","id":8,"method":"m","params":{"a":"' + b"x" * 3_000_000 + b'"}}\n'
    writing = threading.Thread(target=_write_all, args=(pipes.client_out, long_line + PING + b"\n"))
    writing.start()
    refused, served = await _frames(pipes.server_in)
    writing.join()
    assert refused.answer is not None
    assert refused.answer.id == 8
    assert isinstance(served.message, JSONRPCRequest)


async def test_whatever_a_line_raises_it_is_answered_and_the_next_one_read(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours costs one line."""

    def failing(line: bytearray) -> Frame | None:
        if b"bad" in line:
            raise LookupError("a defect")
        return read_frame(line)

    monkeypatch.setattr(lines, "read_frame", failing)
    os.write(pipes.client_out, b'{"jsonrpc":"2.0","id":"bad","method":"ping"}\nbad\n' + PING + b"\n")
    os.close(pipes.client_out)
    failed, served = await _frames(pipes.server_in)
    assert failed.answer is not None
    assert (failed.answer.id, failed.answer.error.code) == ("bad", INTERNAL_ERROR)
    assert isinstance(served.message, JSONRPCRequest)


async def test_an_input_that_cannot_be_read_is_an_input_that_has_ended(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends with its client in any case."""

    def failing(_source: Source) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Source, "read", failing)
    async with serving(pipes, []) as (read_side, _):
        assert [item async for item in read_side] == []


async def test_a_long_line_is_read_elsewhere_and_the_lines_stay_in_order(pipes: Pipes) -> None:
    """While a thread reads a line of megabytes, the event loop serves the other connections."""
    long = b'{"jsonrpc":"2.0","method":"long","params":{"a":"' + b"x" * 1_000_000 + b'"}}\n'
    writing = threading.Thread(target=_write_all, args=(pipes.client_out, (PING + b"\n" + long) * 3))
    writing.start()
    frames = await _frames(pipes.server_in)
    writing.join()
    assert [type(frame.message) for frame in frames] == [JSONRPCRequest, JSONRPCNotification] * 3


async def test_a_long_line_is_read_where_no_thread_can_be_started_too(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of processes may be reached by others: that is no end of the server."""
    long = b'{"jsonrpc":"2.0","method":"long","params":{"a":"' + b"x" * 20_000 + b'"}}\n'
    os.write(pipes.client_out, long + PING + b"\n")
    os.close(pipes.client_out)

    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    frames = await _frames(pipes.server_in)
    assert [type(frame.message) for frame in frames] == [JSONRPCNotification, JSONRPCRequest]


async def test_the_reader_holds_one_line_and_the_client_keeps_the_rest_in_its_pipe(pipes: Pipes) -> None:
    """Nothing is read ahead of what the server takes, but for one piece of input."""
    line = b'{"jsonrpc":"2.0","method":"' + b"x" * 60_000 + b'"}\n'
    writing = threading.Thread(target=_write_all, args=(pipes.client_out, line * 8))
    writing.start()
    with contextlib.closing(Reader(pipes.server_in)) as reader:
        assert await reader.next() is not None
        writing.join(0.2)
        assert writing.is_alive()
        frames = [await reader.next() for _ in range(8)]
        assert frames[-1] is None
    writing.join()


async def test_lines_that_nobody_is_answered_do_not_keep_the_others_waiting(pipes: Pipes) -> None:
    """A client may send thousands of them in one piece: each turn of the event loop has a few."""
    os.write(pipes.client_out, b"\n" * 60_000 + PING + b"\n")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with contextlib.closing(Reader(pipes.server_in)) as reader:
        turning = asyncio.create_task(others())
        assert await reader.next() is not None
        turning.cancel()
    assert turns > 500


async def test_what_was_asked_before_the_end_is_waited_for_no_longer_than_it_may_take(pipes: Pipes) -> None:
    """Each request has its own patience; the end comes at once when all is answered."""

    def patience(request: JSONRPCRequest) -> float:
        return 1_000.0 if request.id == 1 else 0.05

    async with (
        asyncio.timeout(60),
        streams_over(pipes.server_in, pipes.server_out, lambda: None, patience) as (read_side, write_side),
    ):
        os.write(pipes.client_out, PING + b"\n" + PING.replace(b"1,", b"2,"))
        os.close(pipes.client_out)
        await read_side.receive()
        await read_side.receive()
        ended = asyncio.create_task(_drained(read_side))
        await asyncio.wait({ended}, timeout=0.1)
        assert not ended.done()
        await write_side.send(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={})))
        assert await ended == []
        await write_side.aclose()


async def _frames(descriptor: int) -> list[Frame]:
    found = []
    async with asyncio.timeout(60):
        with contextlib.closing(Reader(descriptor)) as reader:
            while (frame := await reader.next()) is not None:
                found.append(frame)
    return found


async def _drained(read_side: ReadSide) -> list[SessionMessage | Exception]:
    return [item async for item in read_side]


def _write_all(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]
    os.close(descriptor)


def test_the_close_of_an_end_waits_for_nothing_while_the_client_s_own_is_open() -> None:
    """The last close of a TCP socket with unsent data waits for as long as its other end has said; this is not it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600))
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                client.send(bytes(1 << 16))
        closing = threading.Thread(target=Sink(client.fileno()).close)
        closing.start()
        closing.join(60)
        is_closed = not closing.is_alive()
        other.close()  # with it the data has nowhere to go
        client.close()
        assert is_closed
