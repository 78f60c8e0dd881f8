"""The host's end of the channel on which one kernel's code asks: frames in, answers out, both within bounds.

Is: an asyncio protocol over a socket pair; it reads no further while too much is open, and breaks a kernel that sends
what is no frame. Is not: the reading of a frame (`kernel/untrusted/question_frames.py`), nor which question may be
asked (`questions.py`). Above: `questions.py`. Below: `sending.py`, `room.py`, `kernel/untrusted/`,
`session/answering/questions.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

from rlm_kernel_mcp.kernel.untrusted.cost import COST_S, TURN_S, Cost
from rlm_kernel_mcp.kernel.untrusted.question_frames import Frame, FramesBroken, QuestionReader
from rlm_kernel_mcp.questions_wire import BATCH_MAX, OPEN_BYTES_MAX
from rlm_kernel_mcp.session.answering.questions import Failed
from rlm_kernel_mcp.session.asking.room import QuestionRoom
from rlm_kernel_mcp.session.asking.sending import Row, Sender, framed, row_of

RECEIVED_BYTES: Final = 1 << 16
"""That are read at a time. asyncio's own way takes 256 KiB anew for each read, which costs more than all that a short
question is looked at for: the system gives them and takes them back."""
FRAMES_PER_TURN: Final = 16
OUT_BYTES_MAX: Final = 8 << 20
"""Answers that wait to be written; beyond this nobody is asked any more."""
OUT_FRAME_CHARS: Final = 1 << 20
ROW_CHARS: Final = 100
"""What a row of a frame has beside its text, about."""
COSTLY: Final = f"its questions took more than {COST_S:.0f} s of the server's processor time"


class KernelChannel(asyncio.BufferedProtocol):
    """One kernel's channel. Belongs to the event loop."""

    def __init__(self, room: QuestionRoom) -> None:
        self._room = room
        self._reader = QuestionReader()
        self._received = memoryview(bytearray(RECEIVED_BYTES))
        self._cost = Cost(time.monotonic())
        self.sender = Sender(self.is_open)
        self._state: Literal["reading", "resting", "full"] = "reading"
        """`resting`: a turn is over; `full`: too much is open."""
        self._open: dict[int, int] = {}
        """Bytes of each open question, by its id."""
        self._open_bytes = 0
        self._is_unread = False
        """Whether more bytes of answers wait to be written than may."""
        self._is_behind = False
        """Whether there were so many answers that no more are wanted until the kernel has taken all of them."""
        self._got: deque[Row] = deque()
        """Answers that are to be sent: as they are, since a thousand equal ones are one text."""
        self._is_flushing = False
        """Whether they will be in this turn of the loop."""
        self._is_taking = False
        """Whether frames are being handed on; what is answered at once goes together at the end of that."""
        self.on_frame: Callable[[Frame], None] = lambda frame: None
        self.on_full: Callable[[bool], None] = lambda full: None
        """Told when so many answers wait to be written that no more are wanted, and when they do not any more."""
        self.on_closed: Callable[[], None] = lambda: None
        """The kernel's end is gone."""
        self.on_broken: Callable[[str], None] = lambda reason: None
        """It sent what is no frame, or passed a bound; nothing more is read."""

    # --- what is open

    def opened(self, number: int, size: int) -> None:
        """A question is open from now on."""
        self._open[number] = size
        self._open_bytes += size
        self._room.take(size)

    def closed(self, number: int) -> bool:
        """It is not any more; false if it was not."""
        with self.sender.lock:
            size = self._open.pop(number, None)
        if size is None:
            return False
        self._open_bytes -= size
        self._room.give_back(size)
        if self._state == "full":
            self._go_on()
        return True

    def is_open(self, number: int) -> bool:
        """Whether a question is."""
        return number in self._open

    @property
    def open_ids(self) -> list[int]:
        return list(self._open)

    def grant(self) -> None:
        """A step begins: the kernel may cost what one step may."""
        self._cost.grant()

    def charge(self, used_s: float) -> None:
        """Its frames have cost so much more of this process's processor time, beside the reading."""
        if self._cost.passes(used_s, time.monotonic()) and self.sender.transport is not None:
            self._break(COSTLY)

    # --- in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: it is there."""
        assert isinstance(transport, asyncio.Transport)
        self.sender.transport = transport
        transport.set_write_buffer_limits(high=OUT_BYTES_MAX)

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio: where bytes are to go."""
        del sizehint
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: so many have come."""
        self._reader.feed(self._received[:nbytes])
        if self._state == "reading":
            self._drain()

    def _drain(self) -> None:
        """Hand on frames for one turn."""
        if self.sender.transport is None:
            return
        begun_s, begun_at_s = time.thread_time(), time.monotonic()
        try:
            is_empty = self._take_turn(begun_at_s)
        except FramesBroken as error:
            self._break(f"it sent {error} on the channel of its questions")
            return
        used_s, now_s = time.thread_time() - begun_s, time.monotonic()
        if self._cost.passes(used_s, now_s):
            self._break(COSTLY)
        elif is_empty:
            self._state = "reading"
            self.sender.transport.resume_reading()
        else:
            self.sender.transport.pause_reading()
            if self._has_room:
                self._state = "resting"
                rest_s = now_s - begun_at_s if used_s > TURN_S else 0.0
                asyncio.get_running_loop().call_later(rest_s, self._drain)
            else:
                self._state = "full"
                if self._room.is_full:
                    self._room.wait(self, self._go_on)

    def _take_turn(self, begun_at_s: float) -> bool:
        """Whether no whole frame is left. Raises: FramesBroken."""
        self._is_taking = True
        try:
            for _ in range(FRAMES_PER_TURN):
                if not self._has_room or time.monotonic() > begun_at_s + TURN_S:
                    return False
                frame = self._reader.next_frame()
                if frame is None:
                    return True
                self.on_frame(frame)
            return False
        finally:
            self._is_taking = False
            self._send_soon()

    @property
    def _has_room(self) -> bool:
        """Whether another question may come: what it is answered has to be held, too."""
        has_room = len(self._open) < BATCH_MAX and self._open_bytes < OPEN_BYTES_MAX
        return has_room and not self._is_behind and not self._room.is_full

    def _go_on(self) -> None:
        """Read on, in a turn of its own, if there is room now."""
        if self._state == "full" and self._has_room:
            self._state = "resting"
            asyncio.get_running_loop().call_soon(self._drain)
        elif self._state == "full" and self._room.is_full:  # others have taken what was free
            self._room.wait(self, self._go_on)

    # --- out

    def give(self, number: int, is_answer: bool | None, value: Any) -> None:
        """Send an answer, together with others of this turn of the loop, once the kernel takes those before it."""
        self._got.append((number, is_answer, value))
        if not self._is_taking:
            self._send_soon()

    def _send_soon(self) -> None:
        """At once where no other answer is waited for: a turn of the loop is a tenth of a question's way."""
        if not self._got or self._is_unread:
            return
        if self._open or self._is_behind:  # nor is anybody told anything in the midst of what the caller does
            self._flush_soon()
        else:
            self._flush()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def fail(self, number: int, why: Failed) -> None:
        """Say why a question has no answer."""
        self.give(*row_of(number, why))

    def _flush(self) -> None:
        """Write one frame; the others of the loop have their turn before the next one."""
        self._is_flushing = False
        if self.sender.transport is None or self.sender.transport.is_closing():
            self._got.clear()
        elif self._got and not self._is_unread:
            self.sender.write(framed(self._frame()))
            self._look_for_more()

    def _look_for_more(self) -> None:
        if self._is_unread:
            return
        if self._got:
            self._flush_soon()
        elif self._is_behind:
            self._is_behind = False
            self.on_full(False)
            self._go_on()

    def _frame(self) -> list[Row]:
        """The next answers, as many as go together."""
        rows, chars = list[Row](), 0
        while self._got and chars <= OUT_FRAME_CHARS:
            row = self._got.popleft()
            chars += ROW_CHARS + (len(row[2]) if type(row[2]) is str else 0)
            rows.append(row)
        return rows

    def pause_writing(self) -> None:
        """asyncio: the kernel does not take its answers."""
        self._is_unread = True
        if not self._is_behind:
            self._is_behind = True
            self.on_full(True)

    def resume_writing(self) -> None:
        """asyncio: it does."""
        self._is_unread = False
        self._look_for_more()

    # --- the end

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the kernel has closed its end, or is gone."""
        del exc
        self.close()
        self.on_closed()

    def _break(self, reason: str) -> None:
        self.close()
        self.on_broken(reason)

    def close(self) -> None:
        """End it; nothing is open any more."""
        transport = self.sender.let_go()
        self._room.forget(self)
        for number in self.open_ids:
            self.closed(number)
        self._got.clear()
        if transport is not None:
            transport.abort()
