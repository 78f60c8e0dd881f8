"""The kernel's stream is read by someone who trusts no byte of it."""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import SnapshotStream, StreamBroken, StreamLimits
from rlm_kernel_mcp.wire import SNAPSHOT_ABORTED, SNAPSHOT_NAMES_MAX

LIMITS = StreamLimits(name_bytes=1_000_000, total_bytes=2_000_000)
FAR = 60.0


def head(name: str, kind: str = "int") -> bytes:
    return b"N " + json.dumps({"name": name, "type": kind}).encode() + b"\n"


def chunk(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


END = struct.pack(">I", 0)
GIVEN_UP = struct.pack(">I", SNAPSHOT_ABORTED)


@contextmanager
def sent(data: bytes, *, ends: bool = True) -> Iterator[int]:
    """A pipe into which a thread writes; the reading end."""
    reader, writer = os.pipe()

    def write() -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(writer, view) :]
        except BrokenPipeError:
            return
        finally:
            if ends:
                os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield reader
    finally:
        os.close(reader)
        thread.join()
        if not ends:
            os.close(writer)


def read(reader: int, within_s: float = FAR) -> list[tuple[str, str, bytes | None]]:
    """Every name of a stream with its type, and its bytes or None where it was given up."""
    stream = SnapshotStream(reader, LIMITS, time.monotonic() + within_s, threading.Event())
    found: list[tuple[str, str, bytes | None]] = []
    while (row := stream.head()) is not None:
        value = bytearray()
        whole = stream.value(value.extend)
        found.append((*row, bytes(value) if whole else None))
    return found


def test_values_come_as_they_were_sent() -> None:
    """In one chunk or many, of any size, with names of any alphabet; a value that was given up is told as that."""
    big = os.urandom(900_000)
    stream = (
        head("a")
        + chunk(b"1")
        + END
        + head("größe", "str")
        + chunk(big[:7])
        + chunk(big[7:500_000])
        + chunk(big[500_000:])
        + END
        + head("half")
        + chunk(b"begun")
        + GIVEN_UP
        + head("empty")
        + END
    )
    with sent(stream) as reader:
        assert read(reader) == [("a", "int", b"1"), ("größe", "str", big), ("half", "int", None), ("empty", "int", b"")]


def test_an_empty_stream_has_no_names() -> None:
    """Nothing changed in the step."""
    with sent(b"") as reader:
        assert read(reader) == []


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"garbage\n", "no[t]? JSON|not JSON"),
        (b"\x00" * 100_000, "does not end"),
        (b"N {}\n", "another shape"),
        (b"N []\n", "another shape"),
        (b"N 5\n", "another shape"),
        (b'X {"name": "a", "type": "b"}\n', "not JSON"),
        (b'{"name": "a", "type": "b"}\n', "another shape"),
        (b'N {"name": 5, "type": "b"}\n', "another shape"),
        (b'N {"name": "a", "type": null}\n', "another shape"),
        (b"N " + b"[" * 8_000 + b"\n", "not JSON"),
        (head("n" * 201), "201 characters"),
        (b"N " + b" " * 10_000, "head does not end"),
        (head("a")[:-1], "ends within a head"),
        (head("a"), "ends within a value"),
        (head("a") + b"\x00\x00", "ends within a value"),
        (head("a") + chunk(b"12345")[:-2], "ends within a value"),
        (head("a") + chunk(b"12345"), "ends within a value"),
        (head("a") + struct.pack(">I", 1_000_001), "1,000,000 bytes of one name"),
        (head("a") + chunk(b"x" * 600_000) * 2, "1,000,000 bytes of one name"),
        ((head("a") + chunk(b"x" * 900_000) + END) * 3, "2,000,000 bytes"),
        ((head("a") + chunk(b"x" * 900_000) + GIVEN_UP) * 3, "2,000,000 bytes"),
        ((head("a") + END) * (SNAPSHOT_NAMES_MAX + 1), "5,000 names"),
        ((head("a") + GIVEN_UP) * (SNAPSHOT_NAMES_MAX + 1), "5,000 names"),
    ],
)
def test_what_breaks_the_format_or_a_cap_ends_the_reading(stream: bytes, why: str) -> None:
    """At once, with the reason; nothing is held that the caps do not allow."""
    with sent(stream) as reader, pytest.raises(StreamBroken, match=why):
        read(reader)


def test_a_stream_that_does_not_end_is_left_at_the_deadline() -> None:
    """Silent in the middle of a value."""
    with sent(head("a") + chunk(b"12345"), ends=False) as reader, pytest.raises(StreamBroken, match="does not end"):
        read(reader, 0.01)


def test_a_stream_without_end_that_never_pauses_is_left_at_the_deadline() -> None:
    """Bytes that are always there must not keep the reader from looking at the clock."""
    with sent((head("a") + chunk(b"x") + GIVEN_UP) * SNAPSHOT_NAMES_MAX) as reader, pytest.raises(StreamBroken):
        read(reader, -1.0)


def test_another_thread_ends_the_reading() -> None:
    """The kernel is gone, and somebody else still holds the pipe."""
    stop = threading.Event()
    with sent(b"", ends=False) as reader:
        stream = SnapshotStream(reader, LIMITS, time.monotonic() + FAR, stop)
        threading.Thread(target=stop.set).start()
        with pytest.raises(StreamBroken, match="does not end"):
            stream.head()


def test_a_long_type_is_cut() -> None:
    """It is shown to nobody whole, and stands in the index."""
    with sent(head("a", "t" * 5_000) + END) as reader:
        ((_, kind, _),) = read(reader)
    assert kind == "t" * 200
