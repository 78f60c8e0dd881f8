"""Frames between this kernel and the host: who sends one, and who reads.

Is: out, which frame its sender writes itself, in order and without a wait, and the work of the thread that writes the
others; in, that a thread which has asked one thing reads its answer itself, and the work of the thread that reads for
all others. Is not: what is in a frame, nor who waits for it (`channel.py`). Above: `channel.py`. Below:
`questions_wire.py`.
"""

from __future__ import annotations

import json
import queue
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rlm_kernel_mcp.questions_wire import FRAME_BYTES, FRAME_ITEMS_MAX, LENGTH_BYTES

AT_ONCE_BYTES: Final = 32 << 10
"""The system takes so small a piece whole, or not at all: an interrupt in the moment after it leaves no half of one."""
RECEIVED_BYTES: Final = 1 << 18
OWN_BYTES: Final = 1 << 16
"""A thread that has asked one thing looks at so much of what has come; a longer answer is read by the other thread."""

_read: Final = json.JSONDecoder().decode

Row = list[Any]
"""Of an answer, as `questions_wire.py` has it."""


@dataclass(slots=True)
class Frame:
    """Whole, or to be joined with the next of its kind: those are questions with the same head."""

    head: bytes
    rows: list[bytes] = field(default_factory=list)
    tail: bytes = b""

    def takes(self, other: Frame) -> bool:
        """Whether the rows of another one may come behind its own."""
        return (
            bool(self.rows and other.rows)
            and other.head == self.head
            and len(self.rows) + len(other.rows) <= FRAME_ITEMS_MAX
            and sum(map(len, self.rows)) + sum(map(len, other.rows)) <= FRAME_BYTES
        )

    @property
    def data(self) -> bytes:
        """As it goes over the wire."""
        body = self.head + b",".join(self.rows) + self.tail
        return len(body).to_bytes(LENGTH_BYTES, "big") + body


class Outgoing:
    """One channel's. Who sends holds its lock."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._queue: queue.SimpleQueue[Frame | bytes] = queue.SimpleQueue()
        self._put = self._written = 0
        """How many were given to the thread that writes, and how many of these it had written when it had no more."""

    def send(self, frame: Frame) -> None:
        """Have it written by the thread that does, behind all others; it may be joined with its neighbours."""
        self._hand_over(frame)

    def send_at_once(self, frame: Frame) -> None:
        """Write it here and now if that waits for nothing and nobody; it is small."""
        data = frame.data if self._put == self._written else b""
        if not 0 < len(data) <= AT_ONCE_BYTES:
            self._hand_over(frame)
            return
        try:
            sent = self._wire.send(data, socket.MSG_DONTWAIT)
        except OSError:  # there is no room, or no host: the thread will see
            sent = 0
        if sent < len(data):
            self._hand_over(data[sent:])

    def _hand_over(self, frame: Frame | bytes) -> None:
        self._put += 1
        self._queue.put(frame)

    def write(self) -> None:
        """The work of the thread that writes. Returns when the host is gone."""
        taken = 0
        following: Frame | bytes | None = None
        while True:
            if following is None:
                self._written = taken  # with nothing in hand: whoever sends may do so itself
                following = self._queue.get()
                taken += 1
            frame, following = following, None
            while isinstance(frame, Frame) and frame.rows:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                taken += 1
                if not isinstance(following, Frame) or not frame.takes(following):
                    break
                frame.rows, frame.tail = frame.rows + following.rows, following.tail
                following = None
            try:
                self._wire.sendall(frame.data if isinstance(frame, Frame) else frame)
            except OSError:
                return


class Incoming:
    """One channel's. Only who has the turn reads, and takes what it reads out of the socket whole.

    `waiting`, whose keys are the ids of all that is asked and not answered, is never empty while nobody has the turn,
    unless somebody is about to take it: who gives it back looks there, and tells the thread that reads.
    """

    def __init__(
        self, wire: socket.socket, waiting: Mapping[int, object], give: Callable[[Iterable[Row]], None]
    ) -> None:
        """`give`: of answers."""
        self._wire, self._waiting, self._give = wire, waiting, give
        self._turn: dict[None, object] = {}
        """Whose it is, at the key None. It is taken in one call, and given back without one: no interrupt comes
        between the two halves of either."""
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()
        """A word to the thread that reads; one too many is heard in vain."""
        self._is_left = False

    def wanted(self) -> None:
        """Somebody waits for what it does not read itself; who has the turn will see that."""
        if None not in self._turn:
            self._told.put(None)

    def leave(self) -> None:
        """There is another channel: nobody asks on this one any more, and its end is waited for."""
        self._is_left = True
        self._told.put(None)

    def read_own(self, number: int) -> None:
        """Wait for the answer to one question, and give it. Returns without it where others are waited for too.

        An interrupt may come anywhere: until an answer is taken out of the socket it stays there, whole, and only one
        that nobody else waits for is taken.
        """
        mine = object()
        try:
            if self._turn.setdefault(None, mine) is mine and number in self._waiting:
                self._take_own(number)
        except OSError:  # the host is gone: the thread that reads will say so
            pass
        finally:
            if None in self._turn and self._turn[None] is mine:
                del self._turn[None]
                if self._waiting or self._is_left:
                    self._told.put(None)

    def _take_own(self, number: int) -> None:
        seen = self._wire.recv(OWN_BYTES, socket.MSG_PEEK)
        end = LENGTH_BYTES + int.from_bytes(seen[:LENGTH_BYTES], "big")
        if LENGTH_BYTES < end <= len(seen):
            rows = _read(seen[LENGTH_BYTES:end].decode())["got"]
            if len(rows) == 1 and rows[0][0] == number and rows[0][1] is not None:
                self._wire.recv(end)
                self._give(rows)

    def read(self) -> None:
        """The work of the thread that reads. Returns when the host is gone."""
        while True:
            self._told.get()
            while self._waiting or self._is_left:
                if self._turn.setdefault(None, self) is not self:
                    break  # who has it tells when that ends
                try:
                    is_over = bool(self._waiting or self._is_left) and not self._take()
                finally:
                    del self._turn[None]
                if is_over:
                    return

    def _take(self) -> bool:
        """What comes next, and the rest of its last frame; false: nothing does any more."""
        buffer = bytearray()
        while True:
            try:
                piece = self._wire.recv(RECEIVED_BYTES)
            except OSError:
                return False
            if not piece:
                return False
            buffer += piece
            while len(buffer) >= LENGTH_BYTES:
                end = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "big")
                if len(buffer) < end:
                    break
                rows = _read(buffer[LENGTH_BYTES:end].decode())["got"]
                del buffer[:end]
                self._give(rows)
            if not buffer:
                return True
