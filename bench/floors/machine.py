"""What this machine takes for what every step needs: waking another process, and two processors at work at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.measure import Amounts, Row, interleave

TURNS = 2_000
LOOPS = 2_000_000


async def machine(amounts: Amounts) -> list[Row]:
    """A byte there and back, on one processor and on two; a loop alone, and beside another one."""
    turns, loops = amounts.times(TURNS), LOOPS // (100 if amounts.smoke else 1)
    cpus = sorted(os.sched_getaffinity(0))

    async def here() -> float:
        return _there_and_back(turns, cpus[0], cpus[0])

    async def across() -> float:
        return _there_and_back(turns, cpus[0], cpus[-1])

    async def alone() -> float:
        return _looped(loops)

    async def beside() -> float:
        with _child(_loop_for_ever):
            return _looped(loops)

    one, two = await interleave([here, across], amounts.times(9), amounts.times(1))
    busy, free = await interleave([beside, alone], amounts.times(9), amounts.times(1))
    return [
        Row(
            "a byte goes to another process on another processor, and back",
            two,
            "on the same processor",
            one,
            unit="µs",
        ),
        Row("a Python loop runs while another process computes as well", busy, "while nothing else does", free),
    ]


def _there_and_back(turns: int, mine: int, theirs: int) -> float:
    """Microseconds for one byte to another process and its answer, over two pipes."""
    (their_in, my_out), (my_in, their_out) = os.pipe(), os.pipe()

    def answer() -> None:
        os.sched_setaffinity(0, {theirs})
        os.close(my_out)
        while data := os.read(their_in, 1):
            os.write(their_out, data)

    before = os.sched_getaffinity(0)
    try:
        with _child(answer):
            os.sched_setaffinity(0, {mine})
            os.write(my_out, b"x")
            os.read(my_in, 1)
            begin = time.perf_counter()
            for _ in range(turns):
                os.write(my_out, b"x")
                os.read(my_in, 1)
            return (time.perf_counter() - begin) * 1_000_000 / turns
    finally:
        os.sched_setaffinity(0, before)
        for descriptor in (their_in, my_out, my_in, their_out):
            os.close(descriptor)


def _looped(loops: int) -> float:
    begin = time.perf_counter()
    number = 0
    for one in range(loops):
        number += one
    return (time.perf_counter() - begin) * 1000


def _loop_for_ever() -> None:
    while True:
        _looped(LOOPS)


@contextmanager
def _child(work: Callable[[], None]) -> Iterator[None]:
    """A process that does something, and is ended with the block."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
