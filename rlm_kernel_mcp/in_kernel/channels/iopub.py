"""Sends a kernel's iopub messages from one thread, which is woken once for all that wait.

Is: ipykernel's thread with fewer wake-ups: each costs several changes of the interpreter lock, and a step sends four
messages. What is held may be taken back by whoever can say it otherwise (decision 0131). Is not: a change of the order
in which anything is sent; nor a wall.
Above: `in_kernel/ipython/app.py`. Below: ipykernel, `audience.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import zmq
from ipykernel.iostream import IOPubThread

from rlm_kernel_mcp.in_kernel.channels.audience import RETRY_S, Audience

WAIT_S = 1.0
"""Longest wait for the thread before a snapshot: the host, whose next step may wait behind that, has less patience than
5 s."""
RING_S = 0.1
"""Between two wake-ups of a thread that is waited for."""

Held = tuple[dict[str, Any], Callable[[], Any]]
"""A message and what sends it. It is empty where only its frames are known."""


class SparingIOPubThread(IOPubThread):
    """The iopub thread of a session's kernel."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._woken = False
        self._holder: int | None = None
        self._held: deque[Held] = deque()
        """Only whoever holds appends. What is taken off either end is sent or taken back, and never both."""
        self._first: Held | None = None
        self.listeners = 0
        """Subscriptions on the socket: the host's, and each console's (the socket reports all, `XPUB_VERBOSER`)."""
        self.audience: Audience | None = None
        """Who listens, where the socket was prepared for it."""
        self.is_owned: Callable[[], bool] = lambda: False
        """Whether the first who listens is the session's host."""
        self._retrying = False

    def schedule(self, f: Callable[[], Any]) -> None:
        """Have the thread call `f`, after everything that was scheduled before."""
        if not self.thread.is_alive():
            f()
            return
        self._let_go()
        # A deque: appending is atomic under the interpreter lock, and needs no other.
        self._events.append(f)
        # A thread that was woken but has not looked yet finds this one too: it clears the flag before it looks.
        if not self._woken:
            try:
                self._woken = True
                self._ring()
            except BaseException:  # an interrupt: nobody else would ever wake the thread again
                self._woken = False
                raise

    def _ring(self) -> None:
        """Wake the thread.

        By its loop and not by ipykernel's inproc socket: that takes longer, and a thread that is short of memory for a
        moment never hears of the message again, since libzmq reports it once.
        """
        loop: asyncio.AbstractEventLoop = self.io_loop.asyncio_loop  # type: ignore[attr-defined]  # tornado's only kind
        loop.call_soon_threadsafe(self._handle_event, None)

    def send_multipart(self, *args: Any, **kwargs: Any) -> None:
        """Have the thread send a message."""
        if self.is_held:
            self._hold(({}, functools.partial(self._really_send, *args, **kwargs)))
        else:
            super().send_multipart(*args, **kwargs)

    @property
    def is_held(self) -> bool:
        """Whether a message of the calling thread is held just now."""
        return self._holder == threading.get_ident() and self.thread.is_alive()

    def keep(self, message: dict[str, Any], frames: Callable[[], Sequence[bytes]]) -> None:
        """Hold a message, whose frames are made when it is sent."""
        self._hold((message, lambda: self._really_send(frames())))

    def _hold(self, held: Held) -> None:
        self._first = self._first or held
        self._held.append(held)

    def begin(self) -> None:
        """What is held from now on belongs together."""
        self._let_go()
        self._first = None

    def take_back(self) -> list[Held] | None:
        """Have nobody hear what was held since `begin`.

        None: it is let go already, since something else was sent, or something among it is not known as a message.
        """
        kept: list[Held] = []
        with contextlib.suppress(IndexError):
            while True:
                kept.append(self._held.popleft())
        if kept and kept[0] is self._first and all(message for message, _ in kept):
            return kept
        self.give_back(kept)
        return None

    def give_back(self, kept: Sequence[Held]) -> None:
        """Have what was taken back sent all the same, with what follows."""
        self._events.extend(send for _, send in kept)

    def _let_go(self) -> None:
        """Have what is held sent before what follows."""
        with contextlib.suppress(IndexError):
            while True:
                self._events.append(self._held.popleft()[1])

    def wake_anew(self) -> None:
        """Have the next message wake the thread, whatever it was told before.

        Short of memory the thread can lose a wake-up between receiving it and acting on it.
        """
        self._woken = False

    def wait(self, within_s: float = WAIT_S) -> None:
        """Return when everything that was scheduled so far has been done, or after so many seconds.

        The thread is woken again and again: short of memory it can lose any wake-up.
        """
        done = threading.Event()
        self.schedule(done.set)
        end_s = time.monotonic() + within_s
        while not done.wait(RING_S) and time.monotonic() < end_s:
            if self.thread.is_alive():
                self._ring()
            else:
                super()._handle_event(None)  # nobody else would do it any more

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Leave the thread asleep over a message that another one is about to follow."""
        self._holder = threading.get_ident()
        try:
            yield
        finally:
            self._holder = None

    def _handle_subscription(self, frames: list[bytes]) -> None:
        """Count who listens; whoever came last is shown at once what was held for lack of listeners."""
        if self.audience is not None:
            for frame in frames:
                if frame[:1] == b"\x01":
                    self.audience.admit(frame[1:], owned=self.is_owned())
        super()._handle_subscription(frames)
        # A subscription begins with 1, its end with 0 (ZMQ_XPUB).
        self.listeners += sum(1 if frame[:1] == b"\x01" else -1 for frame in frames)
        if self.audience is not None:
            self.audience.only(self.listeners)
        self._let_go()
        self._handle_event(None)

    def _send_welcome_message(self, subscription: str) -> None:
        """Greet only the client that has just begun to listen."""
        if self.audience is None:
            super()._send_welcome_message(subscription)
            return
        frames = self.session.serialize(self.session.msg("iopub_welcome", {"subscription": subscription}))
        self.audience.welcome([subscription.encode(), *frames] if subscription else frames)

    def _really_send(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """In the thread: send a message."""
        if self.audience is None:
            super()._really_send(msg, *args, **kwargs)
        elif not self.closed:
            self.audience.send(msg)
            if not self._retrying and self.audience.has_pending:
                self._retry()

    def _retry(self) -> None:
        """Look again until nothing waits any more for a client that does not read."""
        self._retrying = self.audience is not None and not self.closed and self.audience.send_pending()
        if self._retrying:
            self.io_loop.call_later(RETRY_S, self._retry)

    def _handle_event(self, msg: Any) -> None:
        self._woken = False
        try:
            super()._handle_event(msg)
        except BaseException:
            self._ring()  # one that fails costs nobody behind it a turn
            raise
        if self.audience is not None and not self.closed and self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._xpub_stream.flush(zmq.POLLIN)  # a send may have consumed libzmq's only hint that somebody has come
