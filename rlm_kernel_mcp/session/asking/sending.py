"""Answers on their way to a kernel: as frames, from the event loop, or from the thread in which one was found.

Is: the one lock under which both write, and the moment at which a thread did, of which the loop hears later and which
it takes for the step's clock. Is not: which questions are open, nor in which order the loop answers (`channel.py`); nor
a look at what a function gave (`session/functions/`). Above: `channel.py`, `passing.py`. Below: `waiting.py`,
`session/answering/questions.py`, `questions_wire.py`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from rlm_kernel_mcp.questions_wire import LENGTH_BYTES
from rlm_kernel_mcp.session.answering.questions import Answered, Given
from rlm_kernel_mcp.session.asking.waiting import Moment

AT_ONCE_BYTES: Final = 32 << 10
"""Of an answer that a thread sends: the system takes so small a piece whole, or not at all."""

Row = tuple[int, bool | None, Any]
"""Of a question: its id; whether the value is its answer, None: one on trial; and that, or why there is none."""


def row_of(number: int, given: Given) -> Row:
    if isinstance(given, Answered):
        return number, True, given.text
    return number, False, {"code": given.code, "message": given.message}


def framed(rows: Sequence[Row]) -> bytes:
    """One frame."""
    data = json.dumps({"got": rows}).encode()
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


class Sender:
    """Of one channel. Belongs to the event loop, but for `give_at_once`."""

    def __init__(self, is_open: Callable[[int], bool]) -> None:
        """`is_open`: whether a question is; any thread asks it."""
        self._is_open = is_open
        self.lock = threading.RLock()
        """Held where something is written, and where a question is closed: threads answer those that are open. The
        transport may tell of what it is given, and then questions may be closed in the midst of that."""
        self.wire: socket.socket | None = None
        """What the transport is over; None: no thread sends anything."""
        self.transport: asyncio.Transport | None = None
        self._is_behind = False
        """Whether the transport had more than went at once when it was given something last. Only the loop asks it for
        that: while it writes, what it has in hand is for a moment not in its buffer (from Python 3.12 on)."""
        self._rest = b""
        """Of what a thread has sent, if it did not go whole: nobody else's may come between."""

    def write(self, data: bytes) -> None:
        """Write a frame, behind what is to be written already."""
        with self.lock:
            data, self._rest = self._rest + data, b""
            if (transport := self.transport) is not None:
                transport.write(data)
                self._is_behind = transport.get_write_buffer_size() > 0

    def write_rest(self) -> None:
        """A thread has sent something."""
        if self._rest:
            self.write(b"")

    def let_go(self) -> asyncio.Transport | None:
        """Write nothing any more; returns the transport, which is to be ended."""
        with self.lock:
            transport, self.transport = self.transport, None
        return transport

    def give_at_once(self, number: int, given: Given, note: Callable[[bool], object]) -> bool:
        """Send an answer from any thread, if it is waited for and goes without a wait; whether it is sent.

        The question stays open until the loop closes it. `note` is told before the kernel can have the answer, and,
        with false, where it could not be sent after all: so the loop knows it of every question that it has closed.
        """
        data = framed([row_of(number, given)])
        with self.lock:
            if self.wire is None or self.transport is None or self._rest or self._is_behind:
                return False
            if not self._is_open(number) or len(data) > AT_ONCE_BYTES:
                return False
            note(True)
            try:
                sent = self.wire.send(data, socket.MSG_DONTWAIT)
            except OSError:  # there is no room, or no kernel
                note(False)
                return False
            self._rest = data[sent:]
        return True


class AtOnce:
    """The answer to one call of a function, which the thread that has it may send."""

    __slots__ = ("_now", "_number", "_sender", "moment")

    def __init__(self, sender: Sender, number: int, now: Callable[[], Moment]) -> None:
        self._sender, self._number, self._now = sender, number, now
        self.moment: Moment | None = None
        """When it was sent; None: it was not. Once its question is closed that does not change any more."""

    @property
    def is_sent(self) -> bool:
        """As `AtOnce` of `session/answering/questions.py`, as the call."""
        return self.moment is not None

    def __call__(self, given: Given) -> bool:
        return self._sender.give_at_once(self._number, given, self._note)

    def _note(self, is_sent: bool) -> None:
        self.moment = self._now() if is_sent else None
