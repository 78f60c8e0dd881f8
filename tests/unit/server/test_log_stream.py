"""The server's stderr takes what it can and says what it could not."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator

import pytest

from rlm_kernel_mcp.server import log_stream
from rlm_kernel_mcp.server.log_stream import LogStream
from tests.sessions import WAIT_S

LINES = 40_000
LINE = "a line of a log that is a hundred characters long, or so: " + "x" * 42 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_what_finds_no_room_is_dropped_by_lines_and_counted(pipe: tuple[int, int]) -> None:
    """Nobody reads: no write waits. Then somebody does: whole lines, in order, and in their place how many are not."""
    reading, writing = pipe
    stream = LogStream(writing)
    for _ in range(LINES):
        stream.write(LINE)
    assert len(LINE) * LINES > 3 * log_stream.ROOM_CHARS
    accounted, text = 0, b""
    while accounted < LINES:  # some may be told before the last have come
        text += os.read(reading, 1 << 20)
        *whole, rest = text.split(b"\n")
        text = rest
        for line in whole:
            told = re.fullmatch(r"([\d,]+) lines of the log were dropped here: nobody read stderr", line.decode())
            assert told or line.decode() + "\n" == LINE
            accounted += int(told[1].replace(",", "")) if told else 1
    assert (accounted, text) == (LINES, b"")
    stream.write("read again\n")
    stream.finish(WAIT_S)
    assert os.read(reading, 1_000) == b"read again\n"


def test_a_reader_that_is_gone_is_no_error_and_takes_no_memory(pipe: tuple[int, int]) -> None:
    """A closed stderr of the client must not end the server."""
    reading, writing = pipe
    os.close(reading)
    stream = LogStream(writing)
    for _ in range(LINES):
        stream.write(LINE)
    stream.finish(WAIT_S)
    assert sum(map(len, stream._waiting)) == 0


def test_the_end_waits_for_what_is_written_and_no_longer(pipe: tuple[int, int]) -> None:
    """A last word arrives where somebody reads; where nobody does, the process ends all the same."""
    reading, writing = pipe
    stream = LogStream(writing)
    stream.write("last word \ud800\n")
    stream.finish(WAIT_S)
    assert os.read(reading, 1_000) == b"last word \\ud800\n"
    stream.write("x" * 1_000_000)
    ending = threading.Thread(target=stream.finish, args=(0.05,))
    ending.start()
    ending.join(WAIT_S)
    assert not ending.is_alive()
    # The thread that was left would write on, into whatever file of another test gets the pipe's number.
    left = 1_000_000
    while left:
        left -= len(os.read(reading, left))
    stream.finish(WAIT_S)
