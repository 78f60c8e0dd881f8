"""One client's connection between its descriptors and the SDK's server.

Is: what comes in and what goes out, and between them the account of what is owed. Is not: how bytes come and go
(`reader.py`, `writer.py`), or what is owed (`unanswered.py`). Above: `stdio.py`, `connection.py`. Below: `reader.py`,
`writer.py`, `unanswered.py`, `page.py`, `frames.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from rlm_kernel_mcp.server.transport.frames import Frame, Refusal, write_batch, write_frame
from rlm_kernel_mcp.server.transport.lines import MAX_LINE_BYTES
from rlm_kernel_mcp.server.transport.page import Page
from rlm_kernel_mcp.server.transport.reader import Reader
from rlm_kernel_mcp.server.transport.unanswered import Asked, Due, Patience, Unanswered
from rlm_kernel_mcp.server.transport.writer import Writer

log = logging.getLogger(__name__)

ToServer = MemoryObjectSendStream[SessionMessage | Exception]
ReadSide = MemoryObjectReceiveStream[SessionMessage | Exception]
WriteSide = MemoryObjectSendStream[SessionMessage]


AGAIN: Final = "rlm-kernel-mcp: once more"
"""The id of the `initialize` that a host before this one has answered already."""


@asynccontextmanager
async def streams_over(
    wire_in: int,
    wire_out: int,
    on_end: Callable[[], None],
    patience: Patience = lambda _request: 0.0,
    page: Page | None = None,
) -> AsyncIterator[tuple[ReadSide, WriteSide]]:
    """The streams that the SDK's server runs over, on any two descriptors, which stay the caller's own.

    `on_end` is called when `wire_in` ends. The read side ends then too, once every request that was read is answered
    or has had the seconds that `patience` gives it. `page`: where what is under way is written down.
    """
    to_server, read_side = anyio.create_memory_object_stream[SessionMessage | Exception]()
    write_side, from_server = anyio.create_memory_object_stream[SessionMessage]()
    with contextlib.ExitStack() as ends:
        reader = ends.enter_context(contextlib.closing(Reader(wire_in, page)))
        writer = ends.enter_context(contextlib.closing(Writer(wire_out, page)))
        wire = Wire(reader, writer, Unanswered(MAX_LINE_BYTES, patience), page)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.receive, to_server, on_end)
            tasks.start_soon(wire.send, from_server)
            tasks.start_soon(wire.write_refusals)
            with read_side, write_side:
                yield read_side, write_side


class Wire:
    """What comes in and what goes out, and between them the account of what is owed."""

    def __init__(self, reader: Reader, writer: Writer, unanswered: Unanswered, page: Page | None) -> None:
        self._reader = reader
        self._writer = writer
        self._unanswered = unanswered
        self._page = page
        self._refusals = asyncio.Queue[tuple[bytes, Sequence[int | None]] | None]()
        self._introduces = False
        self._is_introduced = asyncio.Event()

    async def receive(self, to_server: ToServer, on_end: Callable[[], None]) -> None:
        """Hand every message to the server; ends with the input, when what was asked is answered.

        Only `Unanswered` holds it up, and never a client that does not read: that one may first write all it has.
        """
        with to_server, contextlib.suppress(anyio.BrokenResourceError), self._last_refusal():
            await self._introduce(to_server)
            while (frame := await self._reader.next()) is not None:
                if frame.batch is not None:
                    await self._take_batch(to_server, frame.batch, frame.size)
                elif frame.answer is not None:
                    await self._refuse([frame.answer])
                elif frame.message is not None:
                    await self._take(to_server, frame.message, frame.size)
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

    async def write_refusals(self) -> None:
        """Write what is answered past the server, in the order in which it was read; ends with `receive`."""
        while (refusal := await self._refusals.get()) is not None:
            line, slots = refusal
            await self._write(line, slots)
            self._unanswered.let_go(len(line))
            del line, refusal

    @contextlib.contextmanager
    def _last_refusal(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._refusals.put_nowait(None)

    async def _introduce(self, to_server: ToServer) -> None:
        """Tell the server who its client is, where a host before this one was told."""
        said = None if self._page is None else self._page.hello()
        if said is None:
            return
        self._introduces = True
        request = JSONRPCRequest(jsonrpc="2.0", id=AGAIN, method="initialize", params=said)
        await to_server.send(self._unanswered.take(Asked(request, 0), self._late))
        await self._is_introduced.wait()
        self._introduces = False
        await to_server.send(SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized")))

    async def _send(self, item: SessionMessage) -> bool:
        due = self._unanswered.settle(item.message)
        if self._introduces and isinstance(item.message, JSONRPCResponse | JSONRPCError):
            self._is_introduced.set()  # the client has had this answer
            return True
        if self._page is not None and (said := self._unanswered.opening()) is not None:
            self._page.keep_hello(said)
        return due is None or await self._write_due(due)

    async def _take_batch(self, to_server: ToServer, frames: Sequence[Frame], size: int) -> None:
        await self._unanswered.until_agreed()
        batch = self._unanswered.open_batch(frames)
        if batch is None:
            await self._refuse([*self._unanswered.refusals(frames)])
            return
        await self._unanswered.until_room()
        asked = [frame.message.id for frame in frames if isinstance(frame.message, JSONRPCRequest)]
        refused = [frame.answer.id for frame in frames if frame.answer is not None]
        noted = self._reader.note([*asked, *refused])  # all before one is served: it is one line, and read once
        slots = iter(noted[: len(asked)])
        batch.slots += noted[len(asked) :]
        for frame in frames:
            if isinstance(frame.message, JSONRPCRequest):
                await self._ask(to_server, Asked(frame.message, size, batch, (next(slots),)))
                size = 0
            elif frame.message is not None:
                await self._take(to_server, frame.message, 0)
        if not batch.asked and batch.answers:
            self._put(write_batch(batch.answers), batch.slots)

    async def _refuse(self, refusals: Sequence[Refusal]) -> None:
        """Answer what one line has, past the server."""
        await self._unanswered.until_room()
        slots = self._reader.note([refusal.id for refusal in refusals])
        for refusal, slot in zip(refusals, slots, strict=True):
            await self._unanswered.until_room()
            self._put(write_frame(refusal), (slot,))

    def _put(self, line: bytes, slots: Sequence[int | None]) -> None:
        self._unanswered.hold(len(line))
        self._refusals.put_nowait((line, slots))

    async def _take(self, to_server: ToServer, message: JSONRPCMessage, size: int) -> None:
        await self._unanswered.until_room()
        if isinstance(message, JSONRPCRequest):
            (slot,) = self._reader.note([message.id])
            await self._ask(to_server, Asked(message, size, None, (slot,)))
            return
        if isinstance(message, JSONRPCNotification) and not message.method.startswith("notifications/"):
            log.warning(
                "%a came without an id: that makes it a notification, which nobody answers", message.method[:64]
            )
        await _give(to_server, SessionMessage(message))

    async def _ask(self, to_server: ToServer, asked: Asked) -> None:
        await self._unanswered.until_room()
        await _give(to_server, self._unanswered.take(asked, self._late))

    async def _late(self, due: Due | None, slots: Sequence[int | None]) -> None:
        if self._page is not None:
            self._page.free(slots)
        if due is not None:
            await self._write_due(due)

    async def _write_due(self, due: Due) -> bool:
        line = write_batch(due.what) if isinstance(due.what, list) else write_frame(due.what)
        return not line or await self._write(line, due.slots)

    async def _write(self, line: bytes, answers: Sequence[int | None] = ()) -> bool:
        if failure := await self._writer.write(line, answers):
            log.warning("stdout ended: %s", failure.strerror or failure)
            self._unanswered.give_up()
        return failure is None


async def _give(to_server: ToServer, message: SessionMessage) -> None:
    with contextlib.suppress(anyio.WouldBlock):  # a server that waits gets it without another turn of the loop
        to_server.send_nowait(message)
        return
    await to_server.send(message)
