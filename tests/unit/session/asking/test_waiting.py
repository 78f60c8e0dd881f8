"""A step that waits for answers is charged for what it works meanwhile, and for nothing else."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from rlm_kernel_mcp.session.asking import waiting as waits
from rlm_kernel_mcp.session.asking.waiting import Waiting
from rlm_kernel_mcp.session.steps.clock import StepClock

pytestmark = pytest.mark.anyio
MS: Final = 1_000_000


class Machine:
    """Its clock, its kernel's processor time, and the calls that are to come later: all moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns, self.cpu = 10_000 * MS, 500
        self.later: list[tuple[int, Any]] = []

        class Clock:
            monotonic_ns = staticmethod(lambda: self.now_ns)

        monkeypatch.setattr(waits, "time", Clock)
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)

    def _call_later(self, seconds: float, call: Any) -> Handle:
        handle = Handle()
        self.later.append((self.now_ns + round(seconds * 1_000 * MS), (handle, call)))
        return handle

    def passes(self, ms: int, cpu_ms: int = 0) -> None:
        """So many ms pass, with so much work of the kernel spread over them, and what is due is called."""
        end_ns = self.now_ns + ms * MS
        start_ns, start_cpu = self.now_ns, self.cpu
        while due := sorted((row for row in self.later if row[0] <= end_ns), key=lambda row: row[0]):
            self.later.remove(due[0])
            self.now_ns, (handle, call) = due[0][0], due[0][1]
            self.cpu = start_cpu + cpu_ms * (self.now_ns - start_ns) // (end_ns - start_ns)
            if not handle.cancelled:
                call()
        self.now_ns, self.cpu = end_ns, start_cpu + cpu_ms


class Handle:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def made(monkeypatch: pytest.MonkeyPatch, limit_ms: int = 1_000_000) -> tuple[Machine, Waiting, StepClock, list[bool]]:
    machine, over = Machine(monkeypatch), list[bool]()
    waiting = Waiting(limit_ms, lambda: machine.cpu)
    waiting.on_limit = lambda: over.append(True)
    return machine, waiting, StepClock(machine.now_ns, 5_000 * MS), over


async def test_waiting_is_free_and_work_beside_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time before and after is charged as ever."""
    machine, waiting, clock, _ = made(monkeypatch)
    machine.passes(100)
    waiting.begin(clock)
    machine.passes(2_000, cpu_ms=30)
    waiting.begin(clock)
    machine.passes(1_000, cpu_ms=10)
    waiting.end()
    machine.passes(50)
    assert clock.elapsed_ns(machine.now_ns) == 190 * MS
    assert waiting.waited_ms == 3_000


async def test_a_wait_that_ended_before_it_is_heard_of_is_charged_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there was a look in between: a thread has answered, and the loop comes to it later."""
    machine, waiting, clock, _ = made(monkeypatch)
    waiting.begin(clock)
    machine.passes(100, cpu_ms=10)
    answered = waiting.now()
    machine.passes(70, cpu_ms=70)
    waiting.end(answered)
    machine.passes(5)
    assert waiting.waited_ms == 100
    assert clock.elapsed_ns(machine.now_ns) - 10 * MS >= 75 * MS


async def test_a_loop_beside_a_question_reaches_the_limit_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although its clock is paused all the time: what it works is charged as it goes on."""
    machine, waiting, clock, _ = made(monkeypatch)
    waiting.begin(clock)
    machine.passes(5_000, cpu_ms=5_000)
    assert clock.is_paused
    assert clock.deadline_ns(machine.now_ns) <= machine.now_ns


async def test_waiting_has_a_limit_of_its_own_over_all_waits_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, at the moment at which it is reached."""
    machine, waiting, clock, over = made(monkeypatch, limit_ms=1_000)
    for _ in range(3):
        waiting.begin(clock)
        machine.passes(300)
        waiting.end()
        machine.passes(10_000)
    assert (waiting.is_over, over) == (False, [])
    waiting.begin(clock)
    machine.passes(99)
    assert not waiting.is_over
    machine.passes(1)
    assert (waiting.is_over, over) == (True, [True])
    machine.passes(10_000)
    waiting.end()
    assert over == [True]


async def test_an_end_without_a_wait_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, waiting, clock, _ = made(monkeypatch)
    waiting.end()
    machine.passes(10)
    assert (clock.elapsed_ns(machine.now_ns), waiting.waited_ms) == (10 * MS, 0)
