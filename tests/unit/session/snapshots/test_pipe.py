"""A kernel's pipe is read until it ends, for as long as it may take, and no longer than somebody waits."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.session.snapshots.pipe import blocks, receive
from tests.unit.kernel.untrusted.test_snapshot_stream import END, GIVEN_UP, chunk, head
from tests.unit.session.snapshots.test_file import opened

FAR = 60.0


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


def read(reader: int, within_s: float = FAR) -> bytes:
    return b"".join(blocks(reader, time.monotonic() + within_s, threading.Event()))


def test_everything_comes_through() -> None:
    """However much more it is than a pipe holds."""
    data = os.urandom(900_000)
    with sent(data) as reader:
        assert read(reader) == data


def test_what_came_is_in_the_file(tmp_path: Path) -> None:
    """The names, with the bytes that the file then has."""
    file = opened(tmp_path)
    with sent(head("a") + chunk(b"x" * 300_000) + END) as reader:
        received = receive(file, os.dup(reader), 60_000, threading.Event())
    assert {name: entry.bytes for name, entry in received.items()} == {"a": 300_000}


def test_a_stream_that_does_not_end_is_left_at_the_deadline() -> None:
    """Silent in the middle of a value."""
    with sent(head("a") + chunk(b"12345"), ends=False) as reader, pytest.raises(StreamBroken, match="does not end"):
        read(reader, 0.01)


def test_a_stream_without_end_that_never_pauses_is_left_at_the_deadline() -> None:
    """Bytes that are always there must not keep the reader from looking at the clock."""
    with sent((head("a") + chunk(b"x") + GIVEN_UP) * 5_000) as reader, pytest.raises(StreamBroken):
        read(reader, -1.0)


def test_another_thread_ends_the_reading() -> None:
    """The kernel is gone, and somebody else still holds the pipe."""
    stop = threading.Event()
    with sent(b"", ends=False) as reader:
        threading.Thread(target=stop.set).start()
        with pytest.raises(StreamBroken, match="does not end"):
            list(blocks(reader, time.monotonic() + FAR, stop))


@pytest.mark.parametrize("in_the_way", [True, False], ids=["no file", "no stream"])
def test_the_reader_is_closed_whatever_happens(tmp_path: Path, in_the_way: bool) -> None:
    """A kernel that writes into a pipe that nobody reads would hang."""
    if in_the_way:
        (tmp_path / "snapshots").write_text("in the way")
    reader, writer = os.pipe()
    os.write(writer, b"no stream\n")
    with pytest.raises(OSError if in_the_way else StreamBroken):
        receive(opened(tmp_path), reader, 1_000, threading.Event())
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    os.close(writer)


def test_a_stream_that_pauses_for_too_long_is_left() -> None:
    """Long before its deadline; what came before was read."""
    with sent(b"some", ends=False) as reader:
        coming = blocks(reader, time.monotonic() + FAR, threading.Event(), 0.1)
        assert next(coming) == b"some"
        with pytest.raises(StreamBroken, match="nothing more of it came"):
            next(coming)
