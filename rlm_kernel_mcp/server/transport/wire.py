"""One client's connection between its descriptors and the SDK's server.

Is: what comes in and what goes out, and between them the account of what is owed. Is not: how bytes come and go
(`reader.py`, `writer.py`), or what is owed (`unanswered.py`). Above: `stdio.py`, `connection.py`. Below: `reader.py`,
`writer.py`, `unanswered.py`, `frames.py`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, JSONRPCNotification, JSONRPCRequest

from rlm_kernel_mcp.server.transport.frames import Frame, write_batch, write_frame
from rlm_kernel_mcp.server.transport.lines import MAX_LINE_BYTES
from rlm_kernel_mcp.server.transport.reader import Reader
from rlm_kernel_mcp.server.transport.unanswered import Batch, Patience, Unanswered
from rlm_kernel_mcp.server.transport.writer import Writer

log = logging.getLogger(__name__)

ToServer = MemoryObjectSendStream[SessionMessage | Exception]
ReadSide = MemoryObjectReceiveStream[SessionMessage | Exception]
WriteSide = MemoryObjectSendStream[SessionMessage]


@asynccontextmanager
async def streams_over(
    wire_in: int, wire_out: int, on_end: Callable[[], None], patience: Patience = lambda _request: 0.0
) -> AsyncIterator[tuple[ReadSide, WriteSide]]:
    """The streams that the SDK's server runs over, on any two descriptors, which stay the caller's own.

    `on_end` is called when `wire_in` ends. The read side ends then too, once every request that was read is answered
    or has had the seconds that `patience` gives it.
    """
    to_server, read_side = anyio.create_memory_object_stream[SessionMessage | Exception]()
    write_side, from_server = anyio.create_memory_object_stream[SessionMessage]()
    with contextlib.ExitStack() as ends:
        reader = ends.enter_context(contextlib.closing(Reader(wire_in)))
        writer = ends.enter_context(contextlib.closing(Writer(wire_out)))
        wire = Wire(reader, writer, Unanswered(MAX_LINE_BYTES, patience))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.receive, to_server, on_end)
            tasks.start_soon(wire.send, from_server)
            with read_side, write_side:
                yield read_side, write_side


class Wire:
    """What comes in and what goes out, and between them the account of what is owed."""

    def __init__(self, reader: Reader, writer: Writer, unanswered: Unanswered) -> None:
        self._reader = reader
        self._writer = writer
        self._unanswered = unanswered

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
            await self._unanswered.until_answered()

    async def send(self, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write every message of the server; ends with the server, or when nobody can read."""
        with from_server:
            async for item in from_server:
                is_read = await self._send(item)
                del item  # else an answer of megabytes stayed in memory until the next one comes
                if not is_read:
                    return

    async def _send(self, item: SessionMessage) -> bool:
        due = self._unanswered.settle(item.message)
        line = b"" if due is None else write_batch(due) if isinstance(due, list) else write_frame(due)
        return not line or await self._write(line)

    async def _take_batch(self, to_server: ToServer, frames: Sequence[Frame], size: int) -> None:
        await self._unanswered.until_agreed()
        batch = self._unanswered.open_batch(frames)
        if batch is None:
            for refusal in self._unanswered.refusals(frames):
                await self._write(write_frame(refusal))
            return
        for frame in frames:
            if frame.message is not None:
                await self._take(to_server, frame.message, size, batch)
                size = 0
        if not batch.asked and batch.answers:
            await self._write(write_batch(batch.answers))

    async def _take(self, to_server: ToServer, message: JSONRPCMessage, size: int, batch: Batch | None) -> None:
        await self._unanswered.until_room()
        given = SessionMessage(message)
        if isinstance(message, JSONRPCRequest):
            given = self._unanswered.take(message, size, batch, self._write_batch)
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
            self._unanswered.give_up()
        return failure is None
