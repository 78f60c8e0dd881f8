"""A step that another client's cell keeps from beginning: the wait for that is not charged.

Is: when it is so, and what of the step's time it was. Its deadline stays: a step that has not begun by then is
withdrawn. What the kernel uses of a processor meanwhile is charged all the same, since it can make up the cell.
Is not: the clock (`clock.py`). Above: `run.py`, `session/calls/step_reports.py`. Below: `clock.py`,
`kernel/execution.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.steps.clock import StepClock

NS_PER_MS: Final = 1_000_000
BEHIND: Final = (
    "A cell of an attached console is running; the step begins when that has ended, and is not charged so far."
)


def is_behind(execution: Execution | None, *, runs_a_cell: bool) -> bool:
    """Whether a step has not begun, and somebody's cell runs, as far as the kernel says."""
    return runs_a_cell and execution is not None and execution.reply.code is None and not execution.done.done()


@contextmanager
def not_charged_behind(execution: Execution, kernel: Kernel, clock: StepClock) -> Iterator[None]:
    """Entered from the moment at which the step was sent, until it has ended."""
    if not is_behind(execution, runs_a_cell=kernel.client.console_busy):
        yield
        return
    sent_ns, used_ms, on_message = time.monotonic_ns(), kernel.process.cpu_ms(), execution.on_message
    is_waiting = True

    def begun() -> None:
        nonlocal is_waiting
        if is_waiting:
            is_waiting = False
            used_ns = max(0, kernel.process.cpu_ms() - used_ms) * NS_PER_MS
            clock.forgive(time.monotonic_ns() - sent_ns - used_ns)

    def heard() -> None:
        if execution.reply.code is not None:
            begun()
        on_message()

    execution.on_message = heard
    try:
        yield
    finally:
        begun()
        execution.on_message = on_message
