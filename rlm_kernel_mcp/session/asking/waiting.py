"""How long a step has waited for answers, and its clock, which is paused meanwhile.

Is: the pauses of one step's clock, the processor time used in them, and the limit of the waiting itself. Is not: what
is waited for. Above: `questions.py`. Below: `session/steps/clock.py`.

A wait goes from the first open question to the last one's answer, however many there are between. Code that works on
in a thread meanwhile is charged: what the kernel uses in a pause is looked at every `LOOK_NS`, so that the step's limit
ends a loop beside a question that nobody answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from rlm_kernel_mcp.session.steps.clock import StepClock

LOOK_NS: Final = 50_000_000
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000


class Moment(NamedTuple):
    """Of the monotonic clock, and what the kernel had used by then."""

    ns: int
    cpu_ms: int


class Waiting:
    """One step's. Belongs to the event loop."""

    def __init__(self, limit_ms: int, cpu_ms: Callable[[], int]) -> None:
        """`cpu_ms`: what the kernel has used by now."""
        self._left_ns = limit_ms * NS_PER_MS
        self._cpu_ms = cpu_ms
        self.on_limit: Callable[[], None] = lambda: None
        """Called once, when it has waited for `limit_ms`."""
        self.on_look: Callable[[], None] = lambda: None
        """Called before what was used is looked at: the wait may have ended a little before."""
        self._clock: StepClock | None = None
        self._begun_ns = self._waited_ns = self._cpu_from_ms = 0
        self._look: asyncio.TimerHandle | None = None
        self._look_ns = 0
        """When it is due."""
        self.is_over = False
        """Whether the limit is reached: nothing is waited for any more."""

    @property
    def waited_ms(self) -> int:
        """So far."""
        running_ns = 0 if self._clock is None else time.monotonic_ns() - self._begun_ns
        return (self._waited_ns + running_ns) // NS_PER_MS

    def begin(self, clock: StepClock) -> None:
        """The step waits from now on."""
        if self._clock is None:
            self._clock, self._begun_ns, self._cpu_from_ms = clock, time.monotonic_ns(), self._cpu_ms()
            clock.pause(self._begun_ns)
            self._look_later()

    def now(self) -> Moment:
        """What `end` takes, read in any thread."""
        return Moment(time.monotonic_ns(), self._cpu_ms())

    def end(self, at: Moment | None = None) -> None:
        """It does not any more, since the moment `at`; None: since now."""
        clock, self._clock = self._clock, None
        if clock is None:
            return
        ns, cpu_ms = at or self.now()
        clock.resume(ns, self._used_ns(cpu_ms))
        self._waited_ns += ns - self._begun_ns

    def _used_ns(self, cpu_ms: int) -> int:
        """Processor time since the last look, no more than there was time."""
        before_ms, self._cpu_from_ms = self._cpu_from_ms, cpu_ms
        return max(0, self._cpu_from_ms - before_ms) * NS_PER_MS

    def _look_later(self) -> None:
        """A look that is due already serves the next wait too: a loop that asks begins thousands of them a second."""
        now_ns = time.monotonic_ns()
        pause_ns = max(0, min(LOOK_NS, self._left_ns - self._waited_ns - (now_ns - self._begun_ns)))
        if self._look is not None:
            if self._look_ns <= now_ns + pause_ns:
                return
            self._look.cancel()
        self._look_ns = now_ns + pause_ns
        self._look = asyncio.get_running_loop().call_later(pause_ns / NS_PER_S, self._charge)

    def _charge(self) -> None:
        """Charge what was used since the last look, and see whether it has waited long enough."""
        self._look = None
        self.on_look()
        if self._clock is None:  # it waits for nothing just now
            return
        now_ns = time.monotonic_ns()
        self._clock.resume(now_ns, self._used_ns(self._cpu_ms()))
        self._clock.pause(now_ns)
        if self._waited_ns + now_ns - self._begun_ns >= self._left_ns:
            self.is_over = True
            self.on_limit()
        else:
            self._look_later()
