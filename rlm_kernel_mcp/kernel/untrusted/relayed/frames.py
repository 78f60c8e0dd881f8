"""The bytes of a kernel on their way to a client with libzmq: messages that end, and none that is too large.

Is: a look at the heads of ZMTP's frames, which holds none of what is in them: whoever hands the bytes on learns of a
message without an end while it is still small. Is not: the wire of the host's own (`zmtp.py`), nor the sockets
(`kernel/bounded_sockets.py`). Sans-I/O. Above: `kernel/bounded_sockets.py`. Below: nothing. Source: ZeroMQ RFC 23,
ZMTP 3.0; 3.1 has the same frames.

libzmq keeps each part of a message as it comes, and shows the message once its last one is there. It has a bound on
the bytes of a part (`MAXMSGSIZE`) and on the number of whole messages (`RCVHWM`), and none on the parts of one.
"""

from __future__ import annotations

from typing import Final

MESSAGE_BYTES_MAX: Final = 8 << 20
"""Of all parts of a message together."""
PARTS_MAX: Final = 64
"""Of one message: Jupyter's have six, an identity, and a few buffers."""
COMMAND_BYTES_MAX: Final = 4_096
"""Of what the two ends of a connection say to each other, such as READY."""
PART_COST: Final = 64
"""Bytes that libzmq needs for a part, however small it is."""
GREETING_BYTES: Final = 64
FIRST_VERSION: Final = 3
"""Earlier ones have frames of another form, which a client would understand all the same."""
VERSION_AT: Final = 10
# Bits of a frame's first byte.
MORE: Final = 0x01
LONG: Final = 0x02
COMMAND: Final = 0x04


class NoMessage(Exception):
    """What came is no message, or one past the bounds: it must not be handed on."""


class FrameWatch:
    """Of one connection, and one way."""

    def __init__(self, message_bytes_max: int = MESSAGE_BYTES_MAX, parts_max: int = PARTS_MAX) -> None:
        self._bytes_max, self._parts_max = message_bytes_max, parts_max
        self._greeted = 0
        self._head = b""
        self._body_left = 0
        self._parts = self._bytes = 0

    def look(self, data: bytes) -> None:
        """See what comes, before it is handed on.

        Raises:
            NoMessage: it is past the bounds; nothing of `data` is to be handed on.
        """
        place = self._greet(data)
        while place < len(data):
            if self._body_left:
                step = min(self._body_left, len(data) - place)
                self._body_left -= step
                place += step
                continue
            wanted = 2 if not self._head else 9 if self._head[0] & LONG else 2
            taken = data[place : place + wanted - len(self._head)]
            self._head += taken
            place += len(taken)
            wanted = 9 if self._head[0] & LONG else 2
            if len(self._head) == wanted:
                self._begin(self._head[0], int.from_bytes(self._head[1:], "big"))
                self._head = b""

    def _greet(self, data: bytes) -> int:
        """Pass over the greeting; returns where in `data` it has ended."""
        for place, byte in enumerate(data[: GREETING_BYTES - self._greeted], self._greeted):
            is_wrong = (place == 0 and byte != 0xFF) or (place == VERSION_AT and byte < FIRST_VERSION)
            if is_wrong or (place == VERSION_AT - 1 and not byte & 1):
                raise NoMessage("no greeting of ZMTP 3")
        passed = min(len(data), GREETING_BYTES - self._greeted)
        self._greeted += passed
        return passed

    def _begin(self, flags: int, size: int) -> None:
        """A frame of a size begins. Raises: NoMessage: there must be no such frame."""
        if flags & ~(MORE | LONG | COMMAND):
            raise NoMessage("a frame with unknown flags")
        self._body_left = size
        if flags & COMMAND:
            if size > COMMAND_BYTES_MAX:
                raise NoMessage(f"a command of {size:,} bytes, and {COMMAND_BYTES_MAX:,} are the most")
            return
        self._parts += 1
        self._bytes += size + PART_COST
        if self._parts > self._parts_max:
            raise NoMessage(f"a message of more than {self._parts_max} parts")
        if self._bytes > self._bytes_max:
            raise NoMessage(f"a message of more than {self._bytes_max:,} bytes")
        if not flags & MORE:
            self._parts = self._bytes = 0
