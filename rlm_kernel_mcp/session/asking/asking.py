"""What one step, or a console's cell, has asked so far: which of it is open, what it waits for, and the account of it.

Is: bookkeeping. Is not: the channel, or who answers. Above: `questions.py`. Below: `waiting.py`,
`session/answering/questions.py`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from rlm_kernel_mcp.session.answering.ledger import USD_DIGITS
from rlm_kernel_mcp.session.answering.questions import Source, Tally
from rlm_kernel_mcp.session.asking.waiting import Moment, Waiting
from rlm_kernel_mcp.session.reports import Subcalls
from rlm_kernel_mcp.session.steps.clock import StepClock
from rlm_kernel_mcp.session.steps.run import RunningStep

NO_LIMIT_NS: Final = 1 << 62


class Asking:
    """One step's."""

    def __init__(self, step: RunningStep | str, waiting: Waiting, tally: Callable[[int], Tally]) -> None:
        """`step`: or the `msg_id` of a console's cell."""
        self._step = None if isinstance(step, str) else step
        self._cell = step if isinstance(step, str) else None
        self.waiting, self._tally = waiting, tally
        self.index: int
        self.source: Source
        self.index, self.source = (0, "console") if self._step is None else (self._step.index, "mcp")
        self._own_clock = StepClock(time.monotonic_ns(), NO_LIMIT_NS)
        """Of a cell, whose time is nobody's."""
        self.open: dict[int, int] = {}
        """By the kernel's id the number of each question that is passed on and has no answer; 0: a forecast; of a call
        of a function with a minus."""
        self.answered: dict[int, int] = {}
        """The same of those that have one, where the kernel is to check it."""
        self._refused: Counter[str] = Counter()
        """Those that were not passed on, by the code that they were answered with."""
        self.is_stopped = False
        """Whether it may ask nothing more."""

    @property
    def msg_id(self) -> str | None:
        """Of the request that runs its code."""
        execution = None if self._step is None else self._step.execution
        return self._cell if execution is None else execution.reply.msg_id

    @property
    def elapsed_ms(self) -> int:
        """What the step is charged so far."""
        return 0 if self._step is None else self._step.elapsed_ms

    def begin(self, number: int, passed_on: int) -> None:
        """A question is passed on, by this number; the step waits."""
        self.open[number] = passed_on
        clock = self._own_clock if self._step is None else self._step.clock
        if clock is not None:
            self.waiting.begin(clock)

    def end(self, number: int, *, checked: bool = False, at: Moment | None = None) -> int:
        """It has an answer, or needs none any more; returns its number.

        `checked`: the kernel will look at it. `at`: since when it has; None: since now.
        """
        passed_on = self.open.pop(number, 0)
        if checked:
            self.answered[number] = passed_on
        if not self.open:
            self.waiting.end(at)
        return passed_on

    def knows(self, number: int) -> bool:
        """Whether it waits for this question, or has its answer."""
        return number in self.open or number in self.answered

    def stop(self) -> None:
        """It may ask nothing more, and what is open is about to be ended: it waits no longer for that."""
        self.is_stopped = True
        self.waiting.end()

    def refuse(self, code: str, count: int = 1) -> None:
        """Questions are not passed on, and were answered with this code."""
        self._refused[code] += count

    def report(self) -> Subcalls | None:
        """What has come of it so far; None where nothing was asked."""
        tally = self._tally(self.index)
        asked = tally.asked + self._refused.total()
        if not asked:
            return None
        failed = Counter(tally.failed) + self._refused
        if self.is_stopped:  # what is open is as good as ended
            failed["stopped"] += sum(number > 0 for number in self.open.values())
        return Subcalls(
            asked=asked,
            answered=tally.answered,
            cached=tally.cached,
            duplicate=tally.duplicate,
            failed=dict((+failed).most_common()),
            tokens_in=tally.tokens_in,
            tokens_out=tally.tokens_out,
            usd=None if tally.usd is None else round(tally.usd, USD_DIGITS),
            waited_ms=self.waiting.waited_ms,
        )

    def conclude(self) -> None:
        """The step has ended: what is told of it is what it is now. It is let go, with all that it has printed."""
        report = self.report()
        if self._step is not None:
            self._step.subcalls, self._step.on_stop = lambda: report, lambda: None
        self._step, self.waiting.on_limit = None, lambda: None
