"""The page of a connection: what a client's front must know when this process is killed, written down before it is.

Is: what was read of stdin and not yet dealt with, which requests have no answer, and the line that is being written. A
page is a memfd of the client's. This process maps it and never looks into the mapping: only the kernel writes there,
for which a page that was cut off is an error (`EFAULT`) and no signal. Is not: its layout, nor what a front does with
it (`front/left.py`). Above: `reader.py`, `writer.py`, `wire.py`, `connection.py`. Below: `front/left.py`, `ends.py`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import mmap
import os
from collections.abc import Sequence
from typing import Any, Final

from rlm_kernel_mcp.front import left
from rlm_kernel_mcp.server.transport.ends import Source

TURN_BYTES: Final = 1 << 12
"""So much of a half is used before the other is: a page of memory, which most clients stay within."""
_FAR: Final = 1 << 62
NAME_CHARS: Final = 200
"""Characters kept of what a client calls itself, where its `initialize` is too long to be kept in whole."""


class Page:
    """Used on the event loop alone; every change is one write to memory that outlives this process."""

    def __init__(self, descriptor: int) -> None:
        """Begin a page, or go on with the one that a host before this one has left.

        Raises:
            OSError: it is no memfd, or one that may not be written.
        """
        # A memfd alone has seals and no name. Behind another file may stand a network, a disk or a program.
        fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        if os.fstat(descriptor).st_nlink:
            raise OSError(errno.EINVAL, "the page of a connection is a file with a name")
        with contextlib.ExitStack() as opened:
            self._file = os.dup(descriptor)
            opened.callback(os.close, self._file)
            if os.pread(self._file, len(left.MAGIC), 0) != left.MAGIC:
                os.ftruncate(self._file, 0)
            os.ftruncate(self._file, left.SIZE)
            os.pwrite(self._file, left.MAGIC, 0)
            self._view = memoryview(opened.enter_context(mmap.mmap(self._file, left.SIZE)))
            opened.callback(self._view.release)
            self._go_on()
            self._opened = opened.pop_all()
        self._last = self._lost = 0
        self._free_slots = [*range(left.SLOTS - 1, -1, -1)]

    def close(self) -> None:
        """Let go of it; what is in it stays."""
        self._opened.close()

    def _go_on(self) -> None:
        """Take over what a host before this one has left."""
        kept = os.pread(self._file, left.INPUT.size, left.INPUT_AT)
        numbers: tuple[int, ...] = left.INPUT.unpack(kept)
        self._base, self._half, self._done, end, self._stage = numbers
        if (
            self._half > 1
            or not self._done <= end <= left.HALF_BYTES
            or self._base >= _FAR
            or self._stage > left.UNSEEN
        ):
            raise OSError(errno.EINVAL, "the page of a connection is damaged")
        # Its front has dealt with the request that a host was reading, or has not, and then nobody does.
        if self._stage in (left.LONG, left.WHOLE):
            self._stage = left.SKIPPED if self._stage == left.LONG else left.SHORT
        read = os.pread(self._file, left.HALF_BYTES, self._place(self._half))
        self._end = max(end, len(read.rstrip(b"\0")))
        self._zero(1 - self._half)

    # What was read.

    @property
    def passes_over(self) -> bool:
        """Whether stdin goes on in a line that cannot be served."""
        return self._stage in (left.SKIPPED, left.UNSEEN)

    @property
    def is_to_answer(self) -> bool:
        """Whether nobody has answered that line, since its id is still to come."""
        return self._stage == left.UNSEEN

    def left_over(self) -> tuple[int, bytes]:
        """Where stdin goes on, and what was read of it from there."""
        if self.passes_over:
            return self._base + self._end, b""
        there = os.pread(self._file, self._end - self._done, self._place(self._half) + self._done)
        return self._base + self._done, there

    def read(self, source: Source) -> bytes:
        """As `source.read`, with what is read in the page at the moment when it is out of the client's pipe."""
        if self._stage == left.SHORT and self._done and self._end >= TURN_BYTES:
            rest = os.pread(self._file, self._end - self._done, self._place(self._half) + self._done)
            self._turn(rest)
        if self._stage == left.SHORT and self._end == left.HALF_BYTES:
            self._stage = left.LONG
            self._put_input()
        if self._stage == left.SHORT:
            place, room = self._place(self._half) + self._end, left.HALF_BYTES - self._end
        else:
            self._zero(1 - self._half)
            place, room = self._place(1 - self._half), left.HALF_BYTES
        count = self._last = source.read_into(self._view[place : place + room])
        if self._stage == left.SHORT:
            self._end += count
            self._put_input()
        return os.pread(self._file, count, place)

    def whole(self, position: int, line: bytearray, ahead: int) -> None:
        """A line is read to its end, which is there in stdin, and so many bytes behind it."""
        if self._stage not in (left.LONG, left.SKIPPED, left.UNSEEN):
            return
        if self._stage == left.LONG:
            tail = bytes(line[-left.TAIL_BYTES :])
            os.pwrite(self._file, tail, self._place(self._half) + left.HALF_BYTES - len(tail))
        self._half, self._done, self._end = 1 - self._half, self._last - ahead, self._last
        self._base, self._stage = position - self._done, left.WHOLE if self._stage == left.LONG else left.SHORT
        self._put_input()
        if self._stage == left.SHORT:
            self._zero(1 - self._half)

    def passed(self, position: int) -> None:
        """All is dealt with up to there in stdin."""
        if self.passes_over or self._stage == left.LONG:
            return
        was_long = self._stage == left.WHOLE
        if position - self._base != self._done or was_long:
            self._done, self._stage = position - self._base, left.SHORT
            self._put_input()
        if was_long:
            self._zero(1 - self._half)

    # What is asked.

    def note(self, ids: Sequence[object], position: int) -> list[int | None]:
        """Write down the requests of a line that ends there; each gets a slot, or None where it has no place."""
        slots: list[int | None] = []
        for request_id in ids:
            if not self._free_slots:
                break
            text = left.text_of(request_id)
            if len(text) > left.ID_BYTES:
                slots.append(None)
                continue
            slot = self._free_slots.pop()
            slots.append(slot)
            os.pwrite(self._file, left.SLOT.pack(position, len(text)) + text, _slot_at(slot))
        slots += [None] * (len(ids) - len(slots))  # a line of 256 MB may have millions
        self._put_lost(slots.count(None))
        self.passed(position)
        return slots

    def free(self, slots: Sequence[int | None]) -> None:
        """These are answered."""
        for slot in slots:
            if slot is not None:
                os.pwrite(self._file, left.SLOT.pack(0, 0), _slot_at(slot))
                self._free_slots.append(slot)
        self._put_lost(-slots.count(None))

    # What is said.

    def begin(self, line: bytes) -> None:
        """This line is about to be written."""
        is_kept = len(line) <= left.LINE_BYTES
        if is_kept:
            os.pwrite(self._file, line, left.LINE_AT)
        self._put_output(len(line), 0, is_sure=False, is_kept=is_kept)

    def written(self, length: int, out: int, *, is_sure: bool) -> None:
        """So much of the line is out; no more than that while nobody tries to write more."""
        self._put_output(length, out, is_sure=is_sure, is_kept=length <= left.LINE_BYTES)

    def end(self, slots: Sequence[int | None]) -> None:
        """The line is out, and with it the answers to these."""
        self.free(slots)
        self._put_output(0, 0, is_sure=False, is_kept=False)

    # Who asks.

    def hello(self) -> dict[str, Any] | None:
        """The params of the `initialize` that a host before this one has answered."""
        (length,) = left.HELLO.unpack(os.pread(self._file, left.HELLO.size, left.HELLO_AT))
        text = os.pread(self._file, min(length, left.HELLO_BYTES), left.HELLO_AT + left.HELLO.size)
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return said if isinstance(said, dict) else None

    def keep_hello(self, params: dict[str, Any]) -> None:
        """Write down what the client has said in its `initialize`."""
        text = json.dumps(params).encode()
        if left.HELLO.size + len(text) > left.HELLO_BYTES:
            text = json.dumps(_shortened(params)).encode()
        os.pwrite(self._file, left.HELLO.pack(len(text)) + text, left.HELLO_AT)

    def _turn(self, rest: bytes) -> None:
        """Go on in the other half, which is empty, with what is left of this one."""
        os.pwrite(self._file, rest, self._place(1 - self._half))
        self._base, self._half, self._done, self._end = self._base + self._done, 1 - self._half, 0, len(rest)
        self._put_input()
        self._zero(1 - self._half)

    def _zero(self, half: int) -> None:
        read = os.pread(self._file, left.HALF_BYTES, self._place(half))
        if used := read.rstrip(b"\0"):  # a page of memory that nobody wrote to takes none
            os.pwrite(self._file, bytes(len(used)), self._place(half))

    def _place(self, half: int) -> int:
        return left.HALVES_AT + half * left.HALF_BYTES

    def _put_input(self) -> None:
        text = left.INPUT.pack(self._base, self._half, self._done, self._end, self._stage)
        os.pwrite(self._file, text, left.INPUT_AT)

    def _put_output(self, length: int, out: int, *, is_sure: bool, is_kept: bool) -> None:
        os.pwrite(self._file, left.OUTPUT.pack(length, out, is_sure, is_kept), left.OUTPUT_AT)

    def _put_lost(self, more: int) -> None:
        if more:
            self._lost += more
            os.pwrite(self._file, left.LOST.pack(self._lost), left.LOST_AT)


def _slot_at(slot: int) -> int:
    return left.SLOTS_AT + slot * left.SLOT_BYTES


def _shortened(params: dict[str, Any]) -> dict[str, Any]:
    """What must not be missing of an `initialize` whose rest is too long."""
    said = params.get("clientInfo")
    info = said if isinstance(said, dict) else {}
    names = {name: str(info.get(name, ""))[:NAME_CHARS] for name in ("name", "version")}
    return {"protocolVersion": str(params.get("protocolVersion"))[:NAME_CHARS], "capabilities": {}, "clientInfo": names}
