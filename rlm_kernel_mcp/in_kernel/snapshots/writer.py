"""Where the bytes of a snapshot go: counted, hashed, within their caps, and no further once the host wants the kernel.

Is: what a pickler writes to. Is not: a choice of values, nor a wall.
Above: `taking.py`, whose docstring has the stream's format. Below: the pipe, or the memory of one message.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from rlm_kernel_mcp.wire import INLINE_SNAPSHOT_BYTES_MAX

BUFFER_BYTES: Final = 1 << 20
PIECE_BYTES: Final = 1 << 20

Sink = Callable[[bytes], None]
"""Takes the bytes of a stream."""


class SnapshotStopped(BaseException):
    """The next step wants the kernel, or the time is up. Not an `Exception`: values' own code catches those."""


class TooLarge(Exception):
    """The value's pickle passes the cap of one name."""


class Gate(Protocol):
    """Whether to go on: the kernel's signal handler is what ends it."""

    stop: bool
    interruptible: bool


class Memory:
    """The stream of a small snapshot."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._room = INLINE_SNAPSHOT_BYTES_MAX

    def write(self, data: bytes) -> None:
        """Append, up to what one message holds."""
        self._room -= len(data)
        if self._room < 0:
            raise TooLarge
        self._pieces.append(data)

    def stream(self) -> bytes:
        """All that was written."""
        return b"".join(self._pieces)


class Writer:
    """A file for the pickler: it hashes, counts, checks the caps, and passes the bytes on if it has a sink."""

    def __init__(self, limit_bytes: int, deadline: float, gate: Gate, sink: Sink | None) -> None:
        self.limit_bytes = limit_bytes
        self._deadline = deadline
        self._gate = gate
        self._sink = sink
        self._hash = hashlib.blake2b(digest_size=16)
        self.bytes = 0
        self.held: list[bytes] | None = []
        """The bytes so far while they are few, so that a small value is pickled once."""

    def write(self, data: Any) -> int:
        """pickle's file interface."""
        self._gate.interruptible = False  # not in the middle of a chunk
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE_BYTES):
            if self._gate.stop or time.monotonic() > self._deadline:
                raise SnapshotStopped
            self._take(bytes(view[start : start + PIECE_BYTES]))
        self._gate.interruptible = True
        return len(view)

    def _take(self, block: bytes) -> None:
        self.bytes += len(block)
        if self.bytes > self.limit_bytes:
            raise TooLarge
        self._hash.update(block)
        if self._sink is not None:
            send_chunk(self._sink, block)
        elif self.held is not None:
            self.held.append(block)
            if self.bytes > BUFFER_BYTES:
                self.held = None

    @property
    def digest(self) -> bytes:
        return self._hash.digest()


def send_chunk(sink: Sink, block: bytes) -> None:
    """One chunk of a value's bytes; an empty one would be its end."""
    if block:
        sink(struct.pack(">I", len(block)))
        sink(block)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, where a pipe takes only what it has room for."""
    window = memoryview(data)
    while window:
        window = window[os.write(descriptor, window) :]
