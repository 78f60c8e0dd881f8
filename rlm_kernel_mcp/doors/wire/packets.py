"""Messages over a socket that keeps packets apart, each of several parts, and bounded by whoever reads it.

Is: parts cut into packets and put together again, and the queue of what is to be sent. Is not: what a message says
(`messages.py`). Above: `doors/link.py`, and the host's end of it. Below: asyncio.

A packet has at most `PACKET_BYTES` behind its first byte, which says whether its part goes on, whether another one
follows, or whether the message ends with it.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

PACKET_BYTES: Final = 1 << 16
"""What a socket takes at once, also with the buffers of a system that was not tuned."""
_GOES_ON, _ENDS, _IS_LAST = b"\0", b"\1", b"\2"
PARTS_MAX: Final = 1 << 16
DESCRIPTORS_AT_ONCE: Final = 253
"""As many as the system carries in one message: those without room would be closed within the read, which waits."""

GiveBack = Callable[[Sequence[int]], object]
"""Closes descriptors that nobody wanted. It does not wait."""


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class BadMessage(ConnectionError):
    """The other end sent what is no message, or one above the bound. Nothing that follows can be read."""


class Packets:
    """One end of a connection. It sends one message at a time, and receives one at a time."""

    def __init__(self, connection: socket.socket, bytes_max: int, give_back: GiveBack = _close_all) -> None:
        """`connection`: SOCK_SEQPACKET, and without blocking. `bytes_max`: of a message that is received.

        `give_back`: for descriptors, which no message carries; of an end that may send them all the same.
        """
        self._connection = connection
        self._bytes_max = bytes_max
        self._give_back = give_back
        self._came: bytes | None = None
        """A packet that is read and not yet taken."""
        self._broken: Exception | None = None
        """Why there is no packet, to be raised by whoever takes the next one."""
        self.take: Callable[[bytes], bool] = lambda packet: False
        """Is offered a message of one packet while the next message is waited for; true: nobody else gets it."""
        self._is_between = False
        """Whether the next packet begins a message, and all before it are with whoever receives them."""
        self._waiter: asyncio.Future[None] | None = None
        self._is_watched = False
        """Whether the loop looks at the connection."""

    async def send(self, parts: Sequence[bytes]) -> None:
        """Send a message of at least one part, as fast as the other end reads. Raises: OSError: that is gone."""
        loop = asyncio.get_running_loop()
        for number, part in enumerate(parts, 1):
            view = memoryview(part)
            for start in range(0, len(view) or 1, PACKET_BYTES):
                goes_on = start + PACKET_BYTES < len(view)
                mark = _GOES_ON if goes_on else _ENDS if number < len(parts) else _IS_LAST
                await loop.sock_sendall(self._connection, mark + view[start : start + PACKET_BYTES])
                if mark != _IS_LAST:
                    await asyncio.sleep(0)  # where the other end reads as fast, nothing above has let others run

    def sent_at_once(self, parts: Sequence[bytes]) -> bool:
        """Send a message that is one packet, if there is room for it, or nothing."""
        if len(parts) > 1 or len(parts[0]) > PACKET_BYTES:
            return False
        try:
            self._connection.send(_IS_LAST + parts[0])
        except OSError:  # no room, or nobody there, which `send` then finds
            return False
        return True

    async def receive(self) -> list[bytearray]:
        """The parts of the next message; none where the other end has gone.

        Raises:
            BadMessage: as there. OSError: the connection is broken.
        """
        parts, size = [bytearray()], 0
        self._is_between = True
        while True:
            packet = await self._next()
            self._is_between = False
            if not packet:
                return []
            size += len(packet)
            mark = packet[:1]
            if len(packet) > PACKET_BYTES + 1 or mark not in (_GOES_ON, _ENDS, _IS_LAST):
                raise BadMessage("what came is no packet of a message")
            if size > self._bytes_max or len(parts) > PARTS_MAX:
                raise BadMessage(f"a message may have {self._bytes_max:,} bytes in {PARTS_MAX:,} parts at most")
            parts[-1] += memoryview(packet)[1:]
            if mark == _IS_LAST:
                return parts
            if mark == _ENDS:
                parts.append(bytearray())

    async def _next(self) -> bytes:
        """The next packet, at the end an empty one. Others always have a turn of the loop before it. Raises: as there.

        The loop goes on looking at the connection from one packet to the next: to begin and end that for each takes
        twice as long as all the rest. It ends a turn after a packet was taken, unless somebody waits for another one.
        """
        loop = asyncio.get_running_loop()
        if self._has_come():
            await asyncio.sleep(0)
        while not self._has_come():
            if not self._is_watched:
                loop.add_reader(self._connection, self._look)
                self._is_watched = True
            self._waiter = loop.create_future()
            try:
                await self._waiter
            except BaseException:
                self._rest()
                raise
            finally:
                self._waiter = None
        packet, broken, self._came, self._broken = self._came, self._broken, None, None
        if broken is not None:
            raise broken
        assert packet is not None
        loop.call_soon(self._rest_unless_waited_for)
        return packet

    def _look(self) -> None:
        """Something can be read: one packet, and the next one when that is taken."""
        if self._has_come():
            self._rest()
            return
        packet = None
        try:
            packet = self._packet()
        except (OSError, BadMessage) as error:
            self._broken = error
        if packet and self._is_between and packet.startswith(_IS_LAST) and self.take(packet[1:]):
            return
        self._came = packet
        if self._has_come() and not self._came:  # the end, and what is broken, stays readable
            self._rest()
        if self._has_come() and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_ahead(self) -> bool:
        """Whether a packet is read that nobody has taken; the end is none."""
        return bool(self._came)

    def _has_come(self) -> bool:
        """Whether a packet, the end or what is wrong with it is read and not yet taken."""
        return self._came is not None or self._broken is not None

    def _rest_unless_waited_for(self) -> None:
        if self._waiter is None:
            self._rest()

    def _rest(self) -> None:
        if self._is_watched:
            self._is_watched = False
            asyncio.get_running_loop().remove_reader(self._connection)

    def _packet(self) -> bytes | None:
        """The next packet, if it is there. Raises: as `receive`."""
        try:
            packet, descriptors, flags = received(self._connection, PACKET_BYTES + 2)
        except BlockingIOError:
            return None
        if descriptors or flags & socket.MSG_CTRUNC:
            self._give_back(descriptors)
            raise BadMessage("descriptors came with a message, which carries none")
        return packet


def received(connection: socket.socket, bytes_max: int) -> tuple[bytes, list[int], int]:
    """A packet, its descriptors, which no child of this process gets, and its flags. Raises: OSError.

    As `socket.recv_fds`, which passes no flags on (Python 3.11 to 3.13): of that each child would inherit them.
    """
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(DESCRIPTORS_AT_ONCE * descriptors.itemsize)
    packet, beside, flags, _ = connection.recvmsg(bytes_max, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return packet, [*descriptors], flags


async def readable(connection: socket.socket) -> None:
    """Wait until something can be read, once. Belongs to the event loop."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)


class Outbox:
    """What is to be sent, in its order. Whoever puts something there does not wait. Belongs to the event loop."""

    def __init__(self, packets: Packets) -> None:
        self._packets = packets
        self._queue = asyncio.Queue[tuple[Sequence[bytes], Callable[[], object]]]()
        self._is_idle = True
        self._lock = threading.Lock()
        """Held where a message goes at once, and where the loop begins with others: none comes between their parts."""

    def sent_at_once(self, parts: Sequence[bytes]) -> bool:
        """Send a message now if no other one is on its way, and it is one packet for which there is room; or nothing.

        From any thread.
        """
        with self._lock:
            return self._is_idle and self._packets.sent_at_once(parts)

    def let_go(self) -> None:
        """The connection is about to be closed, in the midst of no thread's send: what it is then, is another file."""
        with self._lock:
            self._is_idle = False

    def put(self, parts: Sequence[bytes], sent: Callable[[], object] = lambda: None) -> None:
        """Send a message once all before it are. `sent`: called when it is."""
        with self._lock:
            is_sent = self._is_idle = self._is_idle and self._packets.sent_at_once(parts)
        if is_sent:
            sent()
            return
        self._queue.put_nowait((parts, sent))

    async def run(self) -> None:
        """Send, until the other end is gone. Raises: OSError."""
        while True:
            parts, sent = await self._queue.get()
            await self._packets.send(parts)
            sent()
            self._is_idle = self._queue.empty()
