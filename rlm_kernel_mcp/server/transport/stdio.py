"""MCP's stdio: two descriptors, two threads, two streams.

Is: the wire, taken away from descriptors 0 and 1 so that no print of a library can reach it, nor a child read it.
Is not: what a line is (`lines.py`) or means (`frames.py`). Unlike the SDK's transport it answers bad lines, and both
its threads are daemons that only block in the system, so that the process can always end at once.
Above: `server/app.py`. Below: `lines.py`, `frames.py`, `owed.py`.
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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, JSONRPCNotification, JSONRPCRequest

from rlm_kernel_mcp.server.transport.frames import Frame, write_batch, write_frame
from rlm_kernel_mcp.server.transport.lines import MAX_LINE_BYTES, frames_of
from rlm_kernel_mcp.server.transport.owed import Batch, Owed, Patience

log = logging.getLogger(__name__)

FRAMES_AHEAD: Final = 64
"""Frames that the reader may be ahead of the server, with no more bytes in all than one longest line."""
ToServer = MemoryObjectSendStream[SessionMessage | Exception]
ReadSide = MemoryObjectReceiveStream[SessionMessage | Exception]
WriteSide = MemoryObjectSendStream[SessionMessage]


@asynccontextmanager
async def stdio_streams(on_end: Callable[[], None], patience: Patience) -> AsyncIterator[tuple[ReadSide, WriteSide]]:
    """The streams that the SDK's server runs over, on this process's stdin and stdout."""
    wire_in, wire_out = claim_stdio()
    async with streams_over(wire_in, wire_out, on_end, patience) as streams:
        yield streams


@asynccontextmanager
async def streams_over(
    wire_in: int, wire_out: int, on_end: Callable[[], None], patience: Patience = lambda _request: 0.0
) -> AsyncIterator[tuple[ReadSide, WriteSide]]:
    """The same on any two descriptors.

    `on_end` is called when `wire_in` ends. The read side ends then too, once every request that was read is answered
    or has had the seconds that `patience` gives it.
    """
    to_server, read_side = anyio.create_memory_object_stream[SessionMessage | Exception]()
    write_side, from_server = anyio.create_memory_object_stream[SessionMessage]()
    wire = Wire(Reader(wire_in), Writer(wire_out), Owed(MAX_LINE_BYTES, patience))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wire.receive, to_server, on_end)
        tasks.start_soon(wire.send, from_server)
        with read_side, write_side:
            yield read_side, write_side


def claim_stdio() -> tuple[int, int]:
    """Private copies of descriptors 0 and 1; 0 then reads nothing, and 1 writes to stderr, for good."""
    # What a library has buffered by now must not come out between two messages.
    sys.stdout.flush()
    wire_in, wire_out = os.dup(0), os.dup(1)  # not inheritable, as os.dup makes them
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    # A print of a library then goes to the log, and never between two messages.
    os.dup2(2, 1)
    os.close(nothing)
    return wire_in, wire_out


class Reader:
    """Reads frames in a thread of its own. At most `FRAMES_AHEAD` wait, with no more bytes than one longest line."""

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._taken = threading.Condition()
        self._count = self._bytes = 0
        # A daemon: nothing ends a read(2) that blocks, and the interpreter would wait for this thread at its end.
        threading.Thread(target=self._run, args=(descriptor,), name="stdin", daemon=True).start()

    async def next(self) -> Frame | None:
        """The next frame; None at the end of the input."""
        frame = await self._frames.get()
        with self._taken:
            self._count -= 1
            self._bytes -= 0 if frame is None else frame.size
            self._taken.notify()
        return frame

    def _run(self, descriptor: int) -> None:
        try:
            for frame in frames_of(descriptor):
                with self._taken:
                    self._taken.wait_for(lambda size=frame.size: self._has_room(size))  # type: ignore[misc]
                    self._count, self._bytes = self._count + 1, self._bytes + frame.size
                _tell(self._loop, self._frames.put_nowait, frame)
                del frame  # else a large one stayed in memory until the next line comes, here and below
        finally:
            _tell(self._loop, self._frames.put_nowait, None)

    def _has_room(self, size: int) -> bool:
        # Where nothing waits a frame of any size is taken: one of the longest would never come otherwise.
        return self._count <= 0 or (self._count < FRAMES_AHEAD and self._bytes + size <= MAX_LINE_BYTES)


class Writer:
    """Writes lines in a thread of its own, so that a client that does not read stops nobody else.

    A short line that a pipe has room for is written at once, which spares the two changes of thread.
    """

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._room = _room_in_pipe(descriptor)
        self._lines: queue.SimpleQueue[tuple[bytes, asyncio.Future[OSError | None]]] = queue.SimpleQueue()
        self._turn = asyncio.Lock()
        threading.Thread(target=self._run, name="stdout", daemon=True).start()

    async def write(self, line: bytes) -> OSError | None:
        """Write a whole line; returns why it could not be. Callers take turns."""
        async with self._turn:
            if len(line) <= select.PIPE_BUF and self._room is not None and self._room.poll(0):
                return self._write(line)
            written: asyncio.Future[OSError | None] = self._loop.create_future()
            self._lines.put((line, written))
            return await written

    def _run(self) -> None:
        while True:
            line, written = self._lines.get()
            failure: OSError | None = OSError("the thread that writes has failed")  # if it raises what nobody expects
            try:
                failure = self._write(line)
            finally:
                _tell(self._loop, _settle, written, failure)
            del line, written

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


class Wire:
    """What comes in and what goes out, and between them the account of what is owed."""

    def __init__(self, reader: Reader, writer: Writer, owed: Owed) -> None:
        self._reader = reader
        self._writer = writer
        self._owed = owed

    async def receive(self, to_server: ToServer, on_end: Callable[[], None]) -> None:
        """Hand every message to the server; ends with the input, when what was asked is answered."""
        with to_server, contextlib.suppress(anyio.BrokenResourceError):
            while (frame := await self._reader.next()) is not None:
                if frame.batch is not None:
                    await self._take_batch(to_server, frame.batch, frame.size)
                elif frame.answer is not None:
                    await self._write(write_frame(frame.answer))
                elif frame.message is not None:
                    await self._take(to_server, frame.message, frame.size, None)
                del frame
            on_end()
            await self._owed.until_answered()

    async def send(self, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write every message of the server; ends with the server, or when nobody can read."""
        with from_server:
            async for item in from_server:
                is_read = await self._send(item)
                del item  # else an answer of megabytes stayed in memory until the next one comes; so in `Writer._run`
                if not is_read:
                    return

    async def _send(self, item: SessionMessage) -> bool:
        due = self._owed.settle(item.message)
        line = b"" if due is None else write_batch(due) if isinstance(due, list) else write_frame(due)
        return not line or await self._write(line)

    async def _take_batch(self, to_server: ToServer, frames: Sequence[Frame], size: int) -> None:
        await self._owed.until_agreed()
        batch = self._owed.open_batch(frames)
        if batch is None:
            for refusal in self._owed.refusals(frames):
                await self._write(write_frame(refusal))
            return
        for frame in frames:
            if frame.message is not None:
                await self._take(to_server, frame.message, size, batch)
                size = 0
        if not batch.asked and batch.answers:
            await self._write(write_batch(batch.answers))

    async def _take(self, to_server: ToServer, message: JSONRPCMessage, size: int, batch: Batch | None) -> None:
        await self._owed.until_room()
        given = SessionMessage(message)
        if isinstance(message, JSONRPCRequest):
            given = self._owed.take(message, size, batch, self._write_batch)
        elif isinstance(message, JSONRPCNotification) and not message.method.startswith("notifications/"):
            log.warning(
                "%a came without an id: that makes it a notification, which nobody answers", message.method[:64]
            )
        with contextlib.suppress(anyio.WouldBlock):  # a server that waits gets it without another turn of the loop
            to_server.send_nowait(given)
            return
        await to_server.send(given)

    async def _write_batch(self, messages: list[JSONRPCMessage]) -> None:
        await self._write(write_batch(messages))

    async def _write(self, line: bytes) -> bool:
        if failure := await self._writer.write(line):
            log.warning("stdout ended: %s", failure.strerror or failure)
            self._owed.give_up()
        return failure is None


def _settle(written: asyncio.Future[OSError | None], failure: OSError | None) -> None:
    if not written.done():
        written.set_result(failure)


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    # The loop is closed when the server has ended; then there is nobody left to tell.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)
