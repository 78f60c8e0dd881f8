"""What the server owes its client: which requests have no answer yet, and in which batch their answers go.

Is: the account between the wire and the SDK: which version was agreed, how many requests and bytes are being handled,
when everything is answered. Is not: I/O (`wire.py`), nor the answers (the SDK makes them). Above: `wire.py`. Below:
`frames.py`. Sources: JSON-RPC 2.0, section 6; MCP 2025-03-26, "Batching".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp.types import INVALID_REQUEST, JSONRPCError, JSONRPCMessage, JSONRPCRequest, JSONRPCResponse

from rlm_kernel_mcp.server.transport.frames import Frame, Refusal, refuse

BATCHED: Final = frozenset({"2025-03-26"})
"""The protocol versions that have batches."""
REQUESTS_MAX: Final = 256
"""Requests that are served, or refused, at once; further ones are read when some of these are answered."""

Patience = Callable[[JSONRPCRequest], float]
"""Seconds that a request may take once the input has ended."""
RequestId = int | float | str


@dataclass(slots=True, eq=False)
class Batch:
    """One batch that is being answered."""

    asked: int
    """Requests in it."""
    answers: list[JSONRPCMessage]
    settled: int = 0
    slots: list[int | None] = field(default_factory=list)
    """Of what was refused and of the requests that are settled, in the connection's page."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One request that was handed to the server."""

    request: JSONRPCRequest
    size: int
    batch: Batch | None = None
    slots: Sequence[int | None] = ()
    """Its slot in the connection's page, if it has one."""


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be written, and the slots of the requests that it answers."""

    what: list[JSONRPCMessage] | JSONRPCMessage
    slots: Sequence[int | None] = ()


Late = Callable[[Due | None, Sequence[int | None]], Awaitable[None]]


class Unanswered:
    """Used on the event loop alone."""

    def __init__(self, bytes_max: int, patience: Patience) -> None:
        self._bytes_max = bytes_max
        self._patience = patience
        self._asked: dict[tuple[type, RequestId], deque[Asked]] = {}
        self._count = self._refusals = self._bytes = 0
        self._given_up = False
        self._agreed: str | None = None
        self._opening: dict[str, Any] | None = None
        self._changed = asyncio.Event()

    def take(self, asked: Asked, late: Late) -> SessionMessage:
        """Note a request; returns what the SDK is to be given.

        `late` is told of a request that gets no answer, since it was cancelled, and of what is due now in its batch.
        """

        async def drop() -> None:
            self._remove(asked)
            await late(self._in_batch(asked.batch, None, ()) if asked.batch is not None else None, asked.slots)

        # A queue for each id: a client may use an id twice, which MCP forbids and clients do.
        self._asked.setdefault(_key(asked.request.id), deque()).append(asked)
        self._count += 1
        self._bytes += asked.size
        return SessionMessage(asked.request, ServerMessageMetadata(on_request_unanswered=drop))

    def settle(self, message: JSONRPCMessage) -> Due | None:
        """What is to be written now that the server says this: the message, the answers of a whole batch, or nothing.

        Requests of one id are answered in the order in which they were asked.
        """
        if not isinstance(message, JSONRPCResponse | JSONRPCError) or message.id is None:
            return Due(message)
        waiting = self._asked.get(_key(message.id))
        if not waiting:
            return Due(message)
        asked = waiting[0]
        self._remove(asked)
        # Taken from the answer: the version that was agreed, not the one that was asked for.
        if isinstance(message, JSONRPCResponse) and asked.request.method == "initialize":
            self._agreed = str(message.result.get("protocolVersion"))
            self._opening = asked.request.params or {}
        if asked.batch is None:
            return Due(message, asked.slots)
        return self._in_batch(asked.batch, message, asked.slots)

    def opening(self) -> dict[str, Any] | None:
        """What the client has said in its `initialize`, once that is answered; it is said once."""
        said, self._opening = self._opening, None
        return said

    def open_batch(self, frames: Sequence[Frame]) -> Batch | None:
        """The batch, with what is refused of it already answered; None where the agreed version has no batches."""
        if self._agreed not in BATCHED:
            return None
        asked = sum(isinstance(frame.message, JSONRPCRequest) for frame in frames)
        return Batch(asked, [frame.answer for frame in frames if frame.answer is not None])

    def refusals(self, frames: Sequence[Frame]) -> Iterator[Refusal]:
        """What a batch gets where there are none: an error for each id in it."""
        spoken = self._agreed or "none before `initialize` is answered"
        fault = f"The protocol that was agreed ({spoken}) has no batches; send one message a line."
        for frame in frames:
            if isinstance(frame.message, JSONRPCRequest):
                yield refuse(frame.message.id, INVALID_REQUEST, fault)
            elif frame.answer is not None and frame.answer.id is not None:
                yield frame.answer

    def hold(self, size: int) -> None:
        """Note a line of so many bytes that refuses something and waits to be written: it takes a request's room."""
        self._refusals += 1
        self._bytes += size

    def let_go(self, size: int) -> None:
        """Such a line is written."""
        self._refusals -= 1
        self._bytes -= size
        self._changed.set()

    def give_up(self) -> None:
        """Nobody reads answers any more, so that none is owed."""
        self._given_up = True
        self._changed.set()

    @property
    def has_room(self) -> bool:
        """Whether another request may be taken, whatever its size."""
        count = self._count + self._refusals
        return self._given_up or (count < REQUESTS_MAX and self._bytes < self._bytes_max)

    async def until_room(self) -> None:
        """Return once another request may be taken."""
        while not self.has_room:
            await self._change()

    async def until_agreed(self) -> None:
        """Return once no `initialize` is being served: only then is it known whether the client may send batches."""
        while not self._given_up and any(asked.request.method == "initialize" for asked in self._each()):
            await self._change()

    async def until_answered(self) -> None:
        """Return once everything is answered, or has had its time, counted from now."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while self._count and not self._given_up:
            # Computed anew each time, since what is left may have less time than what was just answered.
            end = begin + max(self._patience(asked.request) for asked in self._each())
            try:
                async with asyncio.timeout_at(end):
                    await self._change()
            except TimeoutError:
                return

    def _each(self) -> Iterator[Asked]:
        return (asked for waiting in self._asked.values() for asked in waiting)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _remove(self, asked: Asked) -> None:
        waiting = self._asked[_key(asked.request.id)]
        waiting.remove(asked)
        if not waiting:
            del self._asked[_key(asked.request.id)]
        self._count -= 1
        self._bytes -= asked.size
        self._changed.set()

    @staticmethod
    def _in_batch(batch: Batch, message: JSONRPCMessage | None, slots: Sequence[int | None]) -> Due | None:
        batch.settled += 1
        batch.slots += slots
        if message is not None:
            batch.answers.append(message)
        # JSON-RPC 2.0, section 6: a batch without any answer gets nothing, not an empty list.
        return Due(batch.answers, batch.slots) if batch.settled == batch.asked and batch.answers else None


def _key(request_id: RequestId) -> tuple[type, RequestId]:
    """1 and "1" are two requests."""
    return type(request_id), request_id
