"""Who answers what a session's code asks meets each kernel as soon as it is there, and each step with its clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session import reopening
from rlm_kernel_mcp.session.functions.calls import FunctionCalls
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.steps.clock import StepClock
from rlm_kernel_mcp.session.steps.run import RunningStep
from tests.fake_kernel import DIES, FOREVER, Fakes
from tests.sessions import SessionDriver, until

pytestmark = pytest.mark.anyio
STEP: Final = "execute_request"
OPENED: Final = "opened"


class Recorded:
    """`Answering` that notes in each kernel when it was opened, and pauses each step's clock at its beginning."""

    desk: Desk | None = None
    functions: FunctionCalls | None = None

    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes
        self.served: list[int] = []
        self.step: RunningStep | None = None
        self.refuses = False
        self.first_is_gone = False
        """Whether the first kernel's process has ended, which nobody has been told."""
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.tries = self.cut_off = 0
        self.paused_at_ns: int | None = None
        """None: now."""

    async def open(self, kernel: Kernel) -> None:
        self.tries += 1
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.cut_off += 1
            raise
        fake = next(fake for fake in self._fakes.kernels if fake.process is kernel.process)
        if self.refuses:
            raise KernelDied("It takes no channel.")
        if self.first_is_gone and fake is self._fakes.kernels[0]:
            raise KernelDied("The kernel cannot be given an open file: broken pipe.")
        fake.heard.append(OPENED)

    @contextmanager
    def serving(self, step: RunningStep) -> Iterator[None]:
        def pause() -> None:
            assert step.clock is not None
            step.clock.pause(time.monotonic_ns() if self.paused_at_ns is None else self.paused_at_ns)

        self.served.append(step.index)
        self.step = step
        asyncio.get_running_loop().call_soon(pause)
        yield


@pytest.fixture
def answering(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Of the session that the test opens."""
    made = Recorded(fakes)
    monkeypatch.setattr(reopening, "_answering", lambda *_, **__: made)
    return made


async def opened(fakes: Fakes) -> SessionDriver:
    session, _ = await fakes.open()
    return session


@pytest.mark.usefixtures("answering")
async def test_each_kernel_of_a_session_is_opened_once_and_before_its_first_step(fakes: Fakes) -> None:
    """The first one, and one that has its values back."""
    session = await opened(fakes)
    await session.ok("x = 1")
    await session.ok("x")
    await session.run(DIES)
    await session.ok("x")
    for kernel in fakes.kernels:
        assert kernel.heard.count(OPENED) == 1
        assert kernel.heard.index(OPENED) < kernel.heard.index(STEP)
    assert fakes.kernels[1].heard.index("rlm_restore_request") < fakes.kernels[1].heard.index(OPENED)


@pytest.mark.usefixtures("answering")
async def test_a_kernel_is_opened_though_no_step_comes(fakes: Fakes) -> None:
    """A person may run a cell in it first, which asks as any other."""
    await opened(fakes)
    (kernel,) = fakes.kernels
    await until(lambda: OPENED in kernel.heard)
    assert STEP not in kernel.heard


async def test_a_step_waits_for_what_its_kernel_is_just_given(fakes: Fakes, answering: Recorded) -> None:
    """And it is given once."""
    answering.goes_on.clear()
    session = await opened(fakes)
    await until(lambda: answering.tries == 1)
    report = await session.begin("2 + 2")
    assert STEP not in fakes.kernels[0].heard
    answering.goes_on.set()
    assert (await session.end_of(report.step_index)).result == "4"
    assert (answering.tries, fakes.kernels[0].heard.count(OPENED)) == (1, 1)


async def test_a_kernel_that_ends_is_given_nothing_any_more(fakes: Fakes, answering: Recorded) -> None:
    """Nobody waits for that, but a step, which ends with it."""
    answering.goes_on.clear()
    session = await opened(fakes)
    await until(lambda: answering.tries == 1)
    report = await session.begin("2 + 2")
    await session.session.close("the server ended")
    await until(lambda: answering.cut_off == 1)
    assert (await session.end_of(report.step_index)).status == "kernel_died"


async def test_a_step_that_waits_for_an_answer_does_not_reach_its_limit(fakes: Fakes, answering: Recorded) -> None:
    """Its clock is paused by whoever serves it; an interrupt still ends it."""
    session = await opened(fakes)
    await session.begin(FOREVER, timeout_ms=60_000)
    await session.until_printed("begun")
    assert answering.step is not None
    assert answering.step.clock is not None
    in_an_hour = time.monotonic_ns() + 3_600_000_000_000
    assert answering.step.clock.deadline_ns(in_an_hour) > in_an_hour
    assert (await session.interrupt()).status == "interrupted"
    assert answering.served == [1]


async def test_a_step_reaches_its_limit_by_what_it_is_charged_however_long_it_waits(
    fakes: Fakes, answering: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deadline is looked at again and again while the clock is paused, and comes with the work that is charged."""
    session = await opened(fakes)
    answering.paused_at_ns = 0  # before any time has passed: how slow this machine is does not matter
    looks: list[int] = []
    deadline_ns = StepClock.deadline_ns

    def looked(clock: StepClock, now_ns: int) -> int:
        looks.append(now_ns)
        return deadline_ns(clock, now_ns)

    monkeypatch.setattr(StepClock, "deadline_ns", looked)
    index = (await session.begin(FOREVER, timeout_ms=1)).step_index
    await until(lambda: len(looks) >= 3)
    step = session.session._running
    assert step is not None
    assert step.clock is not None
    step.clock.resume(0, used_ns=2_000_000)
    step.clock.pause(0)
    assert (await session.end_of(index)).status == "timeout"


async def test_a_kernel_that_takes_no_channel_runs_no_step(fakes: Fakes, answering: Recorded) -> None:
    """Nor does another after it; the step says why, and the next one tries again."""
    answering.refuses = True
    session = await opened(fakes)
    report = await session.run("x = 1")
    assert (report.status, len(fakes.kernels)) == ("kernel_died", 2)
    assert not any(STEP in fake.heard for fake in fakes.kernels)
    answering.refuses = False
    assert (await session.ok("2 + 2")).result == "4"


async def test_a_kernel_that_is_gone_before_anybody_knows_it_is_replaced_and_the_step_runs(
    fakes: Fakes, answering: Recorded
) -> None:
    """What is passed to it breaks a pipe before its process's end is told; nothing of the step has been sent yet."""
    answering.first_is_gone = True
    session = await opened(fakes)
    first = fakes.kernels[0]
    report = await session.ok("2 + 2")
    assert (report.result, STEP in first.heard, first.process.returncode) == ("4", False, -9)
    assert report.lost is not None
    assert "broken pipe" in report.lost.reason
