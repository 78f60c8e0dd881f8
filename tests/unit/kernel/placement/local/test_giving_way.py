"""A kernel that gives way: by its session's weight where the system has one, and thread by thread."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from rlm_kernel_mcp.kernel.placement.local.process import LISTINGS, NICENESS, KernelProcess

pytestmark = pytest.mark.anyio
GONE: Final = 1 << 22
"""No process has this number or a greater one: PID_MAX_LIMIT (proc_sys_kernel(5))."""


@asynccontextmanager
async def process() -> AsyncIterator[KernelProcess]:
    """A process that waits for its input; ended at the end."""
    child = subprocess.Popen(  # noqa: ASYNC220  (a KernelProcess does not belong to asyncio's own watch)
        [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE
    )

    async def reap() -> int:
        return child.wait()

    made = KernelProcess(child.pid, os.pidfd_open(child.pid), reap)
    try:
        yield made
    finally:
        made.kill()
        async with asyncio.timeout(60):
            await made.ended()
        child.communicate()


async def test_the_weight_is_written_once_and_its_file_closed_with_the_process() -> None:
    reading, writing = os.pipe()
    async with process() as one:
        one.weigh_by(writing)
        one.give_way()
        one.give_way()
        assert os.getpriority(os.PRIO_PROCESS, one.pid) == NICENESS
    assert os.read(reading, 64) == b"%d" % NICENESS
    assert os.read(reading, 64) == b""
    os.close(reading)
    one.give_way()


async def test_a_system_that_was_asked_too_often_is_asked_again_at_the_next_look() -> None:
    """As Linux answers users other than root (EAGAIN): here by a pipe that is full until it is read."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    full = os.write(writing, bytes(1 << 20))
    async with process() as one:
        one.weigh_by(writing)
        one.give_way()
        assert os.read(reading, full) == bytes(full)
        one.give_way()
        assert os.read(reading, 64) == b"%d" % NICENESS
    os.close(reading)


async def test_each_thread_gives_way_where_the_system_has_no_file_for_a_session_s_weight() -> None:
    async with process() as one:
        one.give_way()
        assert os.getpriority(os.PRIO_PROCESS, one.pid) == NICENESS


async def test_a_thread_that_has_just_ended_leaves_the_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async with process() as one:
        monkeypatch.setattr(os, "listdir", lambda _: [str(GONE), str(one.pid)])
        one.give_way()
        assert os.getpriority(os.PRIO_PROCESS, one.pid) == NICENESS


async def test_a_thread_that_one_without_its_turn_yet_has_started_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async with process() as first, process() as second:
        listings = iter([[str(first.pid)], [str(first.pid), str(second.pid)], [str(first.pid), str(second.pid)]])
        monkeypatch.setattr(os, "listdir", lambda _: next(listings))
        first.give_way()
        assert os.getpriority(os.PRIO_PROCESS, second.pid) == NICENESS


async def test_a_kernel_that_starts_threads_without_end_holds_up_the_host_for_a_few_listings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listings = itertools.count(GONE)
    monkeypatch.setattr(os, "listdir", lambda _: [str(next(listings))])
    async with process() as one:
        one.give_way()
    assert next(listings) == GONE + LISTINGS


async def test_a_file_that_comes_after_the_end_is_closed() -> None:
    reading, writing = os.pipe()
    async with process() as one:
        pass
    one.weigh_by(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)
