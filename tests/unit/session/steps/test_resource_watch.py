"""The watch says from outside when a step's processor time is over: a kernel's own limit is its own to ignore."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from rlm_kernel_mcp.policy import Limits
from rlm_kernel_mcp.session.steps.resource_watch import ResourceWatch

pytestmark = pytest.mark.anyio

LIMITS = Limits(
    memory_mb=64,
    step_cpu_s=1,
    open_files=64,
    threads=16,
    scratch_mb=1,
    scratch_files=16,
    output_chars_per_step=10_000,
)


class Process:
    """A kernel's process whose processor time is what the test says."""

    def __init__(self) -> None:
        self.used_ms = 5_000
        self.signals: asyncio.Queue[int] = asyncio.Queue()

    def cpu_ms(self) -> int:
        return self.used_ms

    def memory_bytes(self) -> int:
        return 0

    def thread_count(self) -> int:
        return 1

    def send_signal(self, signum: int) -> None:
        self.signals.put_nowait(signum)


@contextmanager
def watched(process: Process) -> Iterator[ResourceWatch]:
    """A watch over a step of this process, which the test starts; stopped at the end."""
    kernel: Any = SimpleNamespace(process=process, base_bytes=0, base_threads=1)
    watch = ResourceWatch(kernel, LIMITS)
    watch.begin_step()
    try:
        yield watch
    finally:
        watch.stop()


def refuse(*arguments: object) -> None:
    raise PermissionError


async def test_a_step_past_its_processor_time_is_told_and_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As RLIMIT_CPU does: at the end, and then once for each further second; what earlier steps used does not count."""
    monkeypatch.setattr(resource, "prlimit", refuse)
    process = Process()
    with watched(process) as watch:
        watch.start()
        async with asyncio.timeout(60):
            process.used_ms = 6_001
            assert await process.signals.get() == signal.SIGXCPU
            process.used_ms = 7_001
            assert await process.signals.get() == signal.SIGXCPU
    assert process.signals.empty()


async def test_a_step_that_goes_on_after_it_was_told_twice_is_left_to_the_ladder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever it made of the signal; a late look, on a machine that was stopped, counts once."""
    monkeypatch.setattr(resource, "prlimit", refuse)
    process = Process()
    with watched(process) as watch:
        watch.start()
        async with asyncio.timeout(60):
            process.used_ms = 60_000
            assert await process.signals.get() == signal.SIGXCPU
            assert not watch.exhausted.done()
            process.used_ms = 61_000
            assert await process.signals.get() == signal.SIGXCPU
            assert not watch.exhausted.done()
            process.used_ms = 62_000
            await watch.exhausted
    assert process.signals.empty()


async def test_a_step_within_its_processor_time_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch has looked: a memory signal that it sends at the same look is the witness."""
    monkeypatch.setattr(resource, "prlimit", refuse)
    process = Process()
    with watched(process) as watch:
        process.used_ms = 6_000
        monkeypatch.setattr(Process, "memory_bytes", lambda self: 65 << 20)
        watch.start()
        async with asyncio.timeout(60):
            assert await process.signals.get() == signal.SIGUSR1
    assert process.signals.empty()
