"""MCP's stdio: two descriptors, two threads, two streams.

Is: the wire, taken away from descriptors 0 and 1 so that no print of a library can reach it, nor a child read it.
Is not: what a line means (`frames.py`). Unlike the SDK's transport it answers bad lines, and both its threads are
daemons that only block in the system, so that the process can always end at once.
Above: `app.py`. Below: `frames.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import select
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from rlm_kernel_mcp.server.frames import Frame, read_frame, refuse_long_line, write_frame

log = logging.getLogger(__name__)

MAX_LINE_BYTES: Final = 256 * 1024 * 1024
READ_AHEAD: Final = 16
"""Frames that the reader may be ahead of the server."""

ReadSide = MemoryObjectReceiveStream[SessionMessage | Exception]
WriteSide = MemoryObjectSendStream[SessionMessage]


@asynccontextmanager
async def stdio_streams(on_end: Callable[[], None]) -> AsyncIterator[tuple[ReadSide, WriteSide]]:
    """The streams that the SDK's server runs over, on this process's stdin and stdout."""
    wire_in, wire_out = claim_stdio()
    async with streams_over(wire_in, wire_out, on_end) as streams:
        yield streams


@asynccontextmanager
async def streams_over(
    wire_in: int, wire_out: int, on_end: Callable[[], None]
) -> AsyncIterator[tuple[ReadSide, WriteSide]]:
    """The same on any two descriptors. The read side ends when `wire_in` does; `on_end` is called then."""
    to_server, read_side = anyio.create_memory_object_stream[SessionMessage | Exception]()
    write_side, from_server = anyio.create_memory_object_stream[SessionMessage]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_receive, Reader(wire_in), to_server, write_side.clone(), on_end)
        tasks.start_soon(_send, Writer(wire_out), from_server)
        with read_side, write_side:
            yield read_side, write_side


def claim_stdio() -> tuple[int, int]:
    """Private copies of descriptors 0 and 1; 0 then reads nothing, and 1 writes to stderr, for good."""
    sys.stdout.flush()
    wire_in, wire_out = os.dup(0), os.dup(1)  # not inheritable, as os.dup makes them
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return wire_in, wire_out


class Reader:
    """Reads frames in a thread of its own; at most `READ_AHEAD` of them wait."""

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._room = threading.Semaphore(READ_AHEAD)
        threading.Thread(target=self._run, args=(descriptor,), name="stdin", daemon=True).start()

    async def next(self) -> Frame | None:
        """The next frame; None at the end of the input."""
        frame = await self._frames.get()
        self._room.release()
        return frame

    def _run(self, descriptor: int) -> None:
        for frame in frames_of(descriptor):
            self._room.acquire()
            _tell(self._loop, self._frames.put_nowait, frame)
        _tell(self._loop, self._frames.put_nowait, None)


class Writer:
    """Writes lines in a thread of its own, so that a client that does not read stops nobody else.

    A short line that a pipe has room for is written at once, which spares the two changes of thread.
    """

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._room = _room_in_pipe(descriptor)
        self._lines: queue.SimpleQueue[tuple[bytes, asyncio.Future[OSError | None]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="stdout", daemon=True).start()

    async def write(self, line: bytes) -> OSError | None:
        """Write a whole line; returns why it could not be. One line at a time."""
        if len(line) <= select.PIPE_BUF and self._room is not None and self._room.poll(0):
            return self._write(line)
        written: asyncio.Future[OSError | None] = self._loop.create_future()
        self._lines.put((line, written))
        return await written

    def _run(self) -> None:
        while True:
            line, written = self._lines.get()
            _tell(self._loop, _settle, written, self._write(line))

    def _write(self, line: bytes) -> OSError | None:
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            return error
        return None


def _room_in_pipe(descriptor: int) -> select.poll | None:
    """What says whether `PIPE_BUF` bytes can be written without waiting; None where a descriptor cannot promise it."""
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return None
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    return room


def frames_of(descriptor: int) -> Iterator[Frame]:
    """Every frame that can be read from a descriptor, to its end."""
    pieces: list[bytes] = []
    length = 0
    while chunk := _read(descriptor):
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            if frame := _frame([*pieces, end], length + len(end)):
                yield frame
            pieces, length = [], 0
        length += len(rest)
        # Of a line that is too long the start is enough: it is there to find the request's id.
        if rest and (length <= MAX_LINE_BYTES or not pieces):
            pieces.append(rest)
    if frame := _frame(pieces, length):
        yield frame


def _frame(pieces: list[bytes], length: int) -> Frame | None:
    if length > MAX_LINE_BYTES:
        return refuse_long_line(pieces[0], MAX_LINE_BYTES)
    return read_frame(b"".join(pieces))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except OSError as error:
        log.warning("stdin ended: %s", error.strerror)
        return b""


async def _receive(
    reader: Reader,
    to_server: MemoryObjectSendStream[SessionMessage | Exception],
    back: WriteSide,
    on_end: Callable[[], None],
) -> None:
    with to_server, back, contextlib.suppress(anyio.BrokenResourceError):
        while frame := await reader.next():
            if frame.answer is not None:
                await back.send(SessionMessage(frame.answer))
            elif frame.message is not None:
                await to_server.send(SessionMessage(frame.message))
        on_end()


async def _send(writer: Writer, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
    with from_server:
        async for item in from_server:
            if failure := await writer.write(write_frame(item.message)):
                log.warning("stdout ended: %s", failure.strerror)
                return


def _settle(written: asyncio.Future[OSError | None], failure: OSError | None) -> None:
    if not written.done():
        written.set_result(failure)


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    # The loop is closed when the server has ended; then there is nobody left to tell.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)
