"""The stream in which a kernel sends its snapshots, decoded within bounds of size and count. Sans-I/O.

Is: the format of `in_kernel/snapshots/taking.py`, read by someone who trusts no byte of it: bytes in, events out. Is
not: a reader of the values, and nothing here waits: whoever has a pipe reads it elsewhere
(`session/snapshots/pipe.py`). Above: that, `session/snapshots/file.py`. Below: `wire.py`.

However a stream is cut into blocks, the events are the same, except for where a value's bytes are cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.wire import SNAPSHOT_ABORTED, SNAPSHOT_NAME_CHARS_MAX, SNAPSHOT_NAMES_MAX

HEAD_BYTES_MAX: Final = 8_192
"""Longest line that begins a name; an honest one has less than 5,000."""
LENGTH_BYTES: Final = 4


class StreamBroken(Exception):
    """The kernel's stream breaks its format or a cap, or does not end in time."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What a stream may hold."""

    name_bytes: int
    """Bytes of one value."""
    total_bytes: int
    """Bytes of all values, also those that were given up."""


@dataclass(frozen=True, slots=True)
class NameBegins:
    """A name; its value follows."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ValueBytes:
    """Some bytes of the value."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ValueEnds:
    """The value has come, or the kernel gave it up."""

    whole: bool


Event = NameBegins | ValueBytes | ValueEnds


class StreamDecoder:
    """One stream. It holds no more than one head beside the block that it was fed."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._names = 0
        self._total_bytes = 0
        self._is_in_value = False
        self._value_bytes = 0
        self._chunk_left = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes; what is complete by now.

        Raises:
            StreamBroken: the stream is unusable from now on.
        """
        self._buffer += data
        events: list[Event] = []
        while (event := self._value() if self._is_in_value else self._head()) is not None:
            events.append(event)
        return events

    def end(self) -> None:
        """No more bytes come. Raises StreamBroken if a value is not complete; the beginning of a head is of no use."""
        if self._is_in_value:
            raise StreamBroken("the stream ends within a value")
        if self._buffer:
            raise StreamBroken("the stream ends within a head")

    def _head(self) -> NameBegins | None:
        # Bounded: without a line feed the whole buffer would be searched again with each block.
        end = self._buffer.find(b"\n", 0, HEAD_BYTES_MAX)
        if end < 0:
            if len(self._buffer) >= HEAD_BYTES_MAX:
                raise StreamBroken("a name's head does not end")
            return None
        self._names += 1
        if self._names > SNAPSHOT_NAMES_MAX:
            raise StreamBroken(f"more than {SNAPSHOT_NAMES_MAX:,} names")
        head = _head(self._taken(end + 1))
        self._is_in_value, self._value_bytes = True, 0
        return head

    def _value(self) -> ValueBytes | ValueEnds | None:
        """All bytes of a value that are there as one event, however small the kernel's chunks; else its end."""
        pieces: list[bytes] = []
        while self._chunk_left or len(self._buffer) >= LENGTH_BYTES:
            if not self._chunk_left:
                length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
                if pieces and length in (0, SNAPSHOT_ABORTED):
                    break  # that is the next event
                del self._buffer[:LENGTH_BYTES]
                if length in (0, SNAPSHOT_ABORTED):
                    self._is_in_value = False
                    return ValueEnds(whole=length == 0)
                self._count(length)
                self._chunk_left = length
            if not self._buffer:
                break
            pieces.append(self._taken(min(self._chunk_left, len(self._buffer))))
            self._chunk_left -= len(pieces[-1])
        return ValueBytes(b"".join(pieces)) if pieces else None

    def _count(self, length: int) -> None:
        """A chunk is announced; one that would pass a cap is not awaited."""
        # Counted when it is announced: a length of 4 GB must not be waited for.
        self._value_bytes += length
        self._total_bytes += length
        if self._value_bytes > self._limits.name_bytes:
            raise StreamBroken(f"more than {self._limits.name_bytes:,} bytes of one name")
        if self._total_bytes > self._limits.total_bytes:
            raise StreamBroken(f"more than {self._limits.total_bytes:,} bytes")

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def decoded(blocks: Iterable[bytes], limits: StreamLimits) -> Iterator[Event]:
    """The events of a whole stream.

    Raises:
        StreamBroken; and what `blocks` raises.
    """
    decoder = StreamDecoder(limits)
    for block in blocks:
        yield from decoder.feed(block)
    decoder.end()


def _head(line: bytes) -> NameBegins:
    try:
        head = json.loads(line.removeprefix(b"N "))
    except (ValueError, RecursionError) as error:
        raise StreamBroken("a name's head is not JSON") from error
    name, kind = (head.get("name"), head.get("type")) if isinstance(head, dict) else (None, None)
    if not line.startswith(b"N ") or not isinstance(name, str) or not isinstance(kind, str):
        raise StreamBroken("a name's head has another shape")
    if len(name) > SNAPSHOT_NAME_CHARS_MAX:
        raise StreamBroken(f"a name of {len(name):,} characters")
    return NameBegins(name, kind[:SNAPSHOT_NAME_CHARS_MAX])
