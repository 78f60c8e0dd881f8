"""ZMTP 3.0 over a unix socket: one bounded connection to one kernel channel.

Is: the client's half of the wire under Jupyter messaging (greeting, READY, frames) with a limit on everything that
the peer can make this process hold. Is not: libzmq, whose pipes let a hostile peer grow the host without bound (a
multipart message that never ends; docs/decisions/0003). Above: `kernel/client.py`. Below: `cost.py`, asyncio.
Source: ZeroMQ RFC 23/ZMTP 3.0, NULL mechanism.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

from rlm_kernel_mcp.kernel.untrusted.cost import COST_S, TURN_S, Cost

SIGNATURE: Final = b"\xff" + bytes(8) + b"\x7f"
# Signature, version 3.0, mechanism in 20 bytes, as-server flag, filler: 64 bytes in all (RFC 23).
GREETING: Final = SIGNATURE + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
# Bits of a frame's first byte.
MORE: Final = 0x01
LONG: Final = 0x02
COMMAND: Final = 0x04

FRAMES_MAX: Final = 16
"""Frames of one message: identities, delimiter, signature, four dicts and a few buffers."""

TOGETHER_BYTES_MAX: Final = 64 * 1024
"""Largest frame that is copied, to be written with others."""

COMMANDS_MAX: Final = 16
"""ZMTP commands accepted on one connection: the peer says READY once and has no other."""

MESSAGES_PER_TURN: Final = 32
"""Messages handled before other connections get their turn of the event loop."""

FLOOD_BYTES: Final = 256 << 20
FLOOD_MESSAGES: Final = 1_000_000
"""Bytes that a peer may send between two grants. A kernel that passes it is no longer the one we started, whose own
limits lie far below."""

OnMessage = Callable[[list[bytes]], None]
OnClosed = Callable[[str], None]


class ProtocolBroken(Exception):
    """The peer sent what ZMTP, or this connection's limits, do not allow."""


class FrameReader:
    """Turns bytes into messages; holds no more than one message of at most `message_bytes_max`. Sans-I/O."""

    def __init__(self, message_bytes_max: int) -> None:
        self.message_bytes_max = message_bytes_max
        """May be raised for a while, for one large answer that was asked for."""
        self._buffer = bytearray()
        self._frames: list[bytes] = []
        self._frame_bytes = 0
        self._greeted = False
        self._commands = 0
        self.ready = False

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    def next_message(self) -> list[bytes] | None:
        """The next whole message, or None when more bytes are needed.

        Raises:
            ProtocolBroken: the peer broke the protocol or a limit.
        """
        while True:
            if not self._greeted and not self._take_greeting():
                return None
            frame = self._take_frame()
            if frame is None:
                return None
            flags, body = frame
            if flags & COMMAND:
                self._take_command(body)
                continue
            self._frames.append(body)
            if len(self._frames) > FRAMES_MAX:
                raise ProtocolBroken(f"a message of more than {FRAMES_MAX} frames")
            if not flags & MORE:
                message, self._frames, self._frame_bytes = self._frames, [], 0
                return message

    def _take_greeting(self) -> bool:
        if len(self._buffer) < len(GREETING):
            return False
        greeting = bytes(self._buffer[: len(GREETING)])
        del self._buffer[: len(GREETING)]
        if greeting[0] != 0xFF or not greeting[9] & 1 or greeting[10] < 3 or greeting[12:32].rstrip(b"\0") != b"NULL":
            raise ProtocolBroken("no ZMTP 3 greeting with the NULL mechanism")
        self._greeted = True
        return True

    def _take_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        flags = buffer[0]
        head = 9 if flags & LONG else 2
        if len(buffer) < head:
            return None
        size = int.from_bytes(buffer[1:head], "big")
        # Before any of the body has come, so that no more than one message is ever held.
        if flags & ~(MORE | LONG | COMMAND) or self._frame_bytes + size > self.message_bytes_max:
            raise ProtocolBroken(f"a message of more than {self.message_bytes_max:,} bytes, or unknown flags")
        if len(buffer) < head + size:
            return None
        if size <= TOGETHER_BYTES_MAX:
            body = bytes(buffer[head : head + size])
        else:
            with memoryview(buffer) as view:  # a slice of the buffer would be one more copy
                body = bytes(view[head : head + size])
        del buffer[: head + size]
        if not flags & COMMAND:
            self._frame_bytes += size
        return flags, body

    def _take_command(self, body: bytes) -> None:
        self._commands += 1
        if self._commands > COMMANDS_MAX:
            raise ProtocolBroken(f"more than {COMMANDS_MAX} commands")
        if body.startswith(b"\x05READY"):
            self.ready = True
        elif body.startswith(b"\x05ERROR"):
            raise ProtocolBroken("the peer refused the connection")


class Connection(asyncio.Protocol):
    """One DEALER or SUB connection to a kernel's ipc socket."""

    def __init__(self, socket_type: Literal["DEALER", "SUB"], message_bytes_max: int) -> None:
        self._socket_type = socket_type
        self.reader = FrameReader(message_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._bytes_left = FLOOD_BYTES
        self._messages_left = FLOOD_MESSAGES
        self._cost = Cost(time.monotonic())
        self.on_message: OnMessage = lambda frames: None
        self.on_closed: OnClosed = lambda reason: None
        """The peer is gone."""
        self.on_broken: OnClosed = lambda reason: None
        """The peer broke the protocol or a limit; nothing more is read from it."""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def grant(self) -> None:
        """From now on the peer may send as much as one answer may take."""
        self._bytes_left, self._messages_left = FLOOD_BYTES, FLOOD_MESSAGES
        self._cost.grant()

    async def open(self, path: str) -> None:
        """Connect and shake hands; a SUB connection subscribes to everything.

        Raises:
            OSError: the socket is not there or refuses.
            ProtocolBroken: the peer does not speak ZMTP.
        """
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, path)
        await self.ready

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: greet, and say READY at once (NULL needs no answer in between)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        kind = self._socket_type.encode()
        body = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
        if self._socket_type == "DEALER":
            # An empty identity: the peer's ROUTER assigns one.
            body += b"\x08Identity" + (0).to_bytes(4, "big")
        transport.write(GREETING + bytes([COMMAND, len(body)]) + body)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes have come."""
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self._break(f"it sent more than {FLOOD_BYTES:,} bytes unasked")
            return
        self.reader.feed(data)
        if not self._paused:
            self._drain()

    def _drain(self) -> None:
        """Hand on a bounded number of messages, then let others have their turn."""
        self._paused = False
        begun_s, begun_at_s = time.thread_time(), time.monotonic()
        try:
            more = self._take_turn(begun_s)
            used_s = time.thread_time() - begun_s
            if self._cost.passes(used_s, time.monotonic()):
                raise ProtocolBroken(f"its messages took more than {COST_S:.0f} s of the server's processor time")
        except ProtocolBroken as error:
            self._break(str(error))
            return
        if not more:
            if self._transport is not None:
                self._transport.resume_reading()
            return
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()
        loop = asyncio.get_running_loop()
        if used_s > TURN_S:
            loop.call_later(time.monotonic() - begun_at_s, self._drain)
        else:
            loop.call_soon(self._drain)

    def _take_turn(self, begun_s: float) -> bool:
        """Hand on messages up to the turn's end or number; false if none is left. It began at `time.thread_time`.

        Raises:
            ProtocolBroken: the peer broke the protocol or a limit.
        """
        end_s = time.monotonic() + TURN_S
        for _ in range(MESSAGES_PER_TURN):
            message = self.reader.next_message()
            if self.reader.ready and not self.ready.done():
                self._begin()
            if message is None:
                return False
            self._messages_left -= 1
            if self._messages_left < 0:
                raise ProtocolBroken(f"it sent more than {FLOOD_MESSAGES:,} messages unasked")
            self.on_message(message)
            # Processor time cannot exceed the time that has passed, and that is read without a system call.
            if time.monotonic() > end_s and time.thread_time() > begun_s + TURN_S:
                break
        return True

    def _begin(self) -> None:
        """The peer is ready, and only now takes messages: libzmq ends a connection that sends one before."""
        self.ready.set_result(None)
        if self._socket_type == "SUB":
            self.send([b"\x01"])  # subscribe to everything

    def _break(self, reason: str) -> None:
        self._not_ready(reason)
        self.close()
        self.on_broken(reason)

    def _not_ready(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(ProtocolBroken(reason))
            self.ready.exception()  # read, so that asyncio does not complain where nobody waits any more

    def send(self, frames: Sequence[bytes | memoryview]) -> None:
        """Send one message. A closed connection drops it: the caller's deadline or the kernel's death ends its wait."""
        if self._transport is None or self._transport.is_closing():
            return
        last = len(frames) - 1
        together = bytearray()  # small frames go in one write: each write is a system call here and a wake-up there
        for index, frame in enumerate(frames):
            size = len(frame)
            flags = MORE if index < last else 0
            together += bytes([flags, size]) if size <= 255 else bytes([flags | LONG]) + size.to_bytes(8, "big")
            if size <= TOGETHER_BYTES_MAX:
                together += frame
            else:
                self._transport.write(together)
                self._transport.write(frame)
                together = bytearray()
        self._transport.write(together)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the peer is gone."""
        reason = "the kernel closed the connection" if exc is None else f"the connection broke: {exc}"
        self._not_ready(reason)
        if self._transport is not None:
            self._transport = None
            self.on_closed(reason)

    def close(self) -> None:
        """Drop the connection at once."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
