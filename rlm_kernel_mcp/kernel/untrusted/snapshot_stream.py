"""The stream in which a kernel sends its snapshots, read within bounds of size, count and time.

Is: the format of `in_kernel/snapshots/taking.py`, read by someone who trusts no byte of it. Is not: a reader of the
values. Above: `session/snapshots/file.py`. Below: the pipe, or the bytes of one message.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.wire import SNAPSHOT_ABORTED, SNAPSHOT_NAME_CHARS_MAX, SNAPSHOT_NAMES_MAX

HEAD_BYTES_MAX: Final = 8_192
READ_BYTES: Final = 1 << 18
POLL_MS: Final = 200

Take = Callable[[bytes], None]


class StreamBroken(Exception):
    """The kernel's stream breaks its format or a cap, or does not end in time."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What a stream may hold."""

    name_bytes: int
    """One value."""
    total_bytes: int
    """All values, given-up ones too."""


class SnapshotStream:
    """One stream, to be read by one thread."""

    def __init__(self, source: int | bytes, limits: StreamLimits, deadline: float, stop: threading.Event) -> None:
        """`source`: a pipe's end, or all there is. `deadline`: of `time.monotonic`. `stop`: set by another thread."""
        self._reader, self._buffer = (-1, bytearray(source)) if isinstance(source, bytes) else (source, bytearray())
        self._limits = limits
        self._deadline = deadline
        self._stop = stop
        self._names = 0
        self._bytes = 0
        self._poll = select.poll()
        if self._reader >= 0:
            self._poll.register(self._reader, select.POLLIN)

    def head(self) -> tuple[str, str] | None:
        """The next name and its type, or None at the end.

        Raises:
            StreamBroken.
        """
        while b"\n" not in self._buffer:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise StreamBroken("a name's head does not end")
            if not self._more():
                if self._buffer:
                    raise StreamBroken("the stream ends within a head")
                return None
        self._names += 1
        if self._names > SNAPSHOT_NAMES_MAX:
            raise StreamBroken(f"more than {SNAPSHOT_NAMES_MAX:,} names")
        return _head(self._taken(self._buffer.index(b"\n") + 1))

    def value(self, take: Take) -> bool:
        """Hand the bytes of a value on, block by block; false if the kernel gave the value up.

        Raises:
            StreamBroken; and what `take` raises.
        """
        size = 0
        while length := int.from_bytes(self._taken(4), "big"):
            if length == SNAPSHOT_ABORTED:
                return False
            size += length
            self._bytes += length
            if size > self._limits.name_bytes:
                raise StreamBroken(f"more than {self._limits.name_bytes:,} bytes of one name")
            if self._bytes > self._limits.total_bytes:
                raise StreamBroken(f"more than {self._limits.total_bytes:,} bytes")
            while length:
                if not self._buffer and not self._more():
                    raise StreamBroken("the stream ends within a value")
                block = self._taken(min(length, len(self._buffer)))
                take(block)
                length -= len(block)
        return True

    def _taken(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._more():
                raise StreamBroken("the stream ends within a value")
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _more(self) -> bool:
        """Wait for more bytes; false at the end of the stream."""
        if self._reader < 0:
            return False
        while True:
            if self._stop.is_set() or time.monotonic() > self._deadline:
                raise StreamBroken("the stream does not end")
            if self._poll.poll(POLL_MS):
                break
        data = os.read(self._reader, READ_BYTES)
        self._buffer += data
        return bool(data)


def _head(line: bytes) -> tuple[str, str]:
    try:
        head = json.loads(line.removeprefix(b"N "))
    except (ValueError, RecursionError) as error:
        raise StreamBroken("a name's head is not JSON") from error
    name, kind = (head.get("name"), head.get("type")) if isinstance(head, dict) else (None, None)
    if not line.startswith(b"N ") or not isinstance(name, str) or not isinstance(kind, str):
        raise StreamBroken("a name's head has another shape")
    if len(name) > SNAPSHOT_NAME_CHARS_MAX:
        raise StreamBroken(f"a name of {len(name):,} characters")
    return name, kind[:SNAPSHOT_NAME_CHARS_MAX]
