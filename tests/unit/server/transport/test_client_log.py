"""A line of the log reaches the client whose call it is about, and waits for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlm_kernel_mcp.server.transport.client_log import ROOM_BYTES, ClientLog, ClientStream, lines_to

pytestmark = pytest.mark.anyio

LINE = "a line of a log that is a hundred characters long, or so: " + "x" * 42 + "\n"
LINES = ROOM_BYTES // len(LINE) + 2_000
"""More than a pipe and we hold."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    with contextlib.suppress(OSError):
        os.close(writing)


async def test_a_line_goes_to_the_client_whose_task_or_whose_task_s_task_wrote_it() -> None:
    """And one that belongs to nobody, or to a client that is gone, to the process's own log."""
    own = io.StringIO()
    log = logging.getLogger("a logger of this test")
    shown = logging.StreamHandler(ClientStream(own))
    log.addHandler(shown)
    pipes = [os.pipe() for _ in range(2)]
    gone = asyncio.Event()

    async def later(number: int) -> None:
        log.warning("begun by %d", number)
        await gone.wait()
        log.warning("outlives %d", number)

    async def client(number: int) -> asyncio.Task[None]:
        with contextlib.closing(ClientLog(pipes[number][1])) as stderr, lines_to(stderr):
            log.warning("of %d", number)
            task = asyncio.create_task(later(number))
            await asyncio.sleep(0)
        return task

    tasks = await asyncio.gather(*(client(number) for number in range(2)))
    log.warning("of nobody")
    gone.set()
    await asyncio.gather(*tasks)
    log.removeHandler(shown)
    assert sorted(own.getvalue().splitlines()) == ["of nobody", "outlives 0", "outlives 1"]
    for number, (reading, writing) in enumerate(pipes):
        os.close(writing)
        with os.fdopen(reading) as lines:
            assert lines.read().splitlines() == [f"of {number}", f"begun by {number}"]


async def test_what_a_client_does_not_read_is_kept_up_to_a_bound_and_then_dropped_by_lines_and_counted(
    pipe: tuple[int, int],
) -> None:
    """No write waits. When somebody reads, whole lines come, and in their place how many did not."""
    reading, writing = pipe
    log = ClientLog(writing)
    for _ in range(LINES):
        assert log.write(LINE)
    await log.finish(0)  # whoever reads nothing is not waited for
    with os.fdopen(reading, closefd=False) as read, ThreadPoolExecutor(1) as others:
        text = others.submit(read.read)
        await log.finish(60)
        assert log.write(LINE)
        await log.finish(60)
        log.close()
        os.close(writing)
        lines = text.result(60).splitlines(keepends=True)
    told = [re.fullmatch(r"([\d,]+) lines of the log were dropped here: nobody read stderr\n", line) for line in lines]
    assert [line for line, found in zip(lines, told, strict=True) if not found and line != LINE] == []
    (dropped,) = (int(found[1].replace(",", "")) for found in told if found)
    assert dropped + lines.count(LINE) == LINES + 1
    assert lines.count(LINE) >= ROOM_BYTES // len(LINE)
    assert lines[-1] == LINE


def test_a_client_that_has_closed_its_stderr_takes_no_line_and_raises_nothing() -> None:
    """The line is for the process's own log then."""
    reading, writing = os.pipe()
    os.close(reading)
    log = ClientLog(writing)
    assert not log.write(LINE)
    assert not log.write(LINE)
    log.close()
    os.close(writing)
