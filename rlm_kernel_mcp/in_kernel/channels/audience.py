"""Who listens on iopub: the session's host, which is waited for, and any other client, which is not.

Is: a bound for each listener on the messages that wait for it and on how long to wait for it; a listener hears how many
it missed. Is not: the thread (`iopub.py`), nor a wall. Above: `iopub.py`. Below: libzmq, which silently drops what a
listener does not take in time, and cannot wait for one listener and not for another.

How one is told from the other: XPUB_MANUAL lets this end say what a new listener is subscribed to. The host gets every
topic; each other client the private topics of all the others, so that a message under its own one, sent with inverted
matching, goes to it alone. What then stands in front of the topic is one more prefix, which Jupyter's clients skip.
Source: zmq_setsockopt(3), XPUB_MANUAL, XPUB_NODROP, INVERT_MATCHING.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import zmq

from rlm_kernel_mcp.in_kernel.channels.whole_socket import is_out_of_memory
from rlm_kernel_mcp.wire import DELIMITER

MESSAGES_MAX: Final = 200
"""Messages for each listener in libzmq's queue."""
HOST_WAIT_S: Final = 60.0
"""How long a message waits for the host: a host that was stopped and goes on loses nothing."""
LOOK_S: Final = 0.1
PENDING_BYTES: Final = 4 << 20
"""Messages for each other client, beside those in libzmq's queue."""
RETRY_S: Final = 0.02
PRIVATE: Final = b"\0"
PLACES: Final = 16
"""Other clients that are told apart; any beyond them share one entry, and what they miss."""

Frames = Sequence[Any]


class Missed:
    """What one listener missed."""

    def __init__(self, session: Any, why: str) -> None:
        self._session = session
        self._why = why
        self._parent: Any = b"{}"
        self.count = 0

    def add(self, frames: Frames) -> None:
        """One more message."""
        self.count += 1
        # The parent header is the third part behind the delimiter: signature, header, parent header.
        if DELIMITER in frames[:-5]:
            self._parent = frames[list(frames).index(DELIMITER) + 3]

    def notice(self) -> list[bytes]:
        """The line for the listener, on stderr, in place of the first message that it missed."""
        text = f"\n[{self.count:,} messages of the kernel were dropped here: {self._why}]\n"
        message = self._session.msg("stream", {"name": "stderr", "text": text})
        try:
            message["parent_header"] = json.loads(bytes(self._parent))
        except ValueError:  # the stream is not one of ours
            message["parent_header"] = {}
        return [b"stream.stderr", *self._session.serialize(message)]


class OtherClient:
    """A console, or any other client but the host."""

    def __init__(self, socket: Any, topic: bytes, session: Any) -> None:
        self._socket = socket
        self._topic = topic
        self._pending: deque[Frames] = deque()
        self._pending_bytes = 0
        self._missed = Missed(session, "this client did not read them in time")

    def send(self, frames: Frames) -> None:
        """Send a message, or keep it for a while, or count it as missed."""
        if not self.send_pending() and self._sent(frames):
            return
        if self._pending_bytes + _size(frames) > PENDING_BYTES:
            self._missed.add(frames)
            return
        if self._missed.count:
            self._keep(self._missed.notice())
            self._missed.count = 0
        self._keep(frames)

    def send_pending(self) -> bool:
        """Send what waits; whether anything still does."""
        while self._pending and self._sent(self._pending[0]):
            self._pending_bytes -= _size(self._pending.popleft())
        if self._missed.count and not self._pending and self._sent(self._missed.notice()):
            self._missed.count = 0
        return self.behind

    @property
    def behind(self) -> bool:
        """Whether anything waits for it."""
        return bool(self._pending) or self._missed.count > 0

    def _keep(self, frames: Frames) -> None:
        self._pending.append(frames)
        self._pending_bytes += _size(frames)

    def _sent(self, frames: Frames) -> bool:
        first = [self._topic] if frames[0] == DELIMITER else [self._topic + bytes(frames[0])]
        rest = frames if frames[0] == DELIMITER else frames[1:]
        # Inverted: it goes to whoever is *not* subscribed to its topic, which is this client alone.
        self._socket.setsockopt(zmq.INVERT_MATCHING, 1)
        try:
            self._socket.send_multipart([*first, *rest], zmq.NOBLOCK)
        except (MemoryError, zmq.ZMQError) as error:
            if isinstance(error, zmq.Again) or is_out_of_memory(error):
                return False
            raise
        finally:
            self._socket.setsockopt(zmq.INVERT_MATCHING, 0)
        return True


class Audience:
    """The listeners of one socket. All but `prepare` belongs to the thread whose socket it is."""

    def __init__(self, socket: Any, session: Any) -> None:
        self._socket = socket
        self._session = session
        self._others: dict[int, OtherClient] = {}
        self._newest = 0
        self._has_host = False
        self._missed = Missed(session, f"its host did not read them for {HOST_WAIT_S:.0f} s")

    @staticmethod
    def prepare(socket: Any) -> None:
        """Set what a socket needs before it is bound."""
        socket.setsockopt(zmq.SNDHWM, MESSAGES_MAX)
        socket.setsockopt(zmq.XPUB_MANUAL, 1)
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # each subscription and its end: clients are counted by them
        socket.setsockopt(zmq.XPUB_NODROP, 1)
        socket.setsockopt(zmq.SNDTIMEO, int(LOOK_S * 1000))

    def admit(self, topic: bytes, *, owned: bool) -> None:
        """Subscribe whoever has just asked for a topic. `owned`: the first one is the host."""
        if topic or (owned and not self._has_host):
            self._has_host = self._has_host or not topic
            self._socket.setsockopt(zmq.SUBSCRIBE, topic)
            if topic:
                self._socket.setsockopt(zmq.SUBSCRIBE, PRIVATE)  # and so not to any other client's messages
            return
        place = self._newest = (self._newest + 1) % PLACES
        for other in range(PLACES):
            if other != place:
                self._socket.setsockopt(zmq.SUBSCRIBE, _private(other))
        self._others[place] = OtherClient(self._socket, _private(place), self._session)

    def only(self, listeners: int) -> None:
        """Note how many listeners there are: for the host alone nothing has to be sent twice."""
        # A bool as a number: the host counts as one listener.
        if listeners <= self._has_host:
            self._others.clear()

    def welcome(self, frames: Frames) -> None:
        """Send the newest listener its greeting."""
        newest = self._others.get(self._newest)
        if newest is None:
            self._send_to_host(frames)
        else:
            newest.send(frames)

    def send(self, frames: Frames) -> None:
        """Send a message to all."""
        for other in self._others.values():
            other.send(frames)
        self._send_to_host(frames)

    @property
    def has_pending(self) -> bool:
        """Whether anything waits for others than the host."""
        return any(other.behind for other in self._others.values())

    def send_pending(self) -> bool:
        """Send what waits for others than the host; whether anything still does."""
        behind = [other.send_pending() for other in self._others.values()]
        return any(behind)

    def _send_to_host(self, frames: Frames) -> None:
        if self._missed.count:
            if not self._sent(self._missed.notice(), zmq.NOBLOCK):
                self._missed.add(frames)
                return
            self._missed.count = 0
        deadline = time.monotonic() + HOST_WAIT_S
        while not self._sent(frames, 0):
            self.send_pending()
            if time.monotonic() > deadline:
                self._missed.add(frames)
                return

    def _sent(self, frames: Frames, flags: int) -> bool:
        try:
            self._socket.send_multipart(frames, flags)
        except zmq.Again:  # it has waited long enough
            return False
        except (MemoryError, zmq.ZMQError) as error:
            if not is_out_of_memory(error):
                raise
            time.sleep(RETRY_S)
            return False
        return True


def _private(place: int) -> bytes:
    return PRIVATE + bytes([place + 1])


def _size(frames: Frames) -> int:
    return sum(map(len, frames))
