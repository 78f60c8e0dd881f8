"""Frames on their way to the host: those of one thread at a time, in order, and never with a wait of who sends.

Is: which frame its sender writes itself, and the work of the thread that writes the others. Is not: what is in a frame
(`channel.py`). Above: `channel.py`. Below: `questions_wire.py`.
"""

from __future__ import annotations

import queue
import socket
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.questions_wire import FRAME_BYTES, FRAME_ITEMS_MAX, LENGTH_BYTES

AT_ONCE_BYTES: Final = 32 << 10
"""The system takes so small a piece whole, or not at all: an interrupt in the moment after it leaves no half of one."""


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
