"""How far a running step is, written into its row: what it has printed, for how many answers it waits, what was used.

Is: for whoever looks from outside, with `rlm-kernel-mcp trace` or from another server, once a second and where it
begins to wait; and at once for whoever asks its own server for the trace. Is not: the step's record, which is written
when it ends. Above: `session/execution.py`, `session/registry.py`. Below: `journal.py`, `session/steps/run.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.steps.run import RunningStep
from rlm_kernel_mcp.session.trace.console_cells import note_missed_cells
from rlm_kernel_mcp.session.trace.journal import Journal

NOTE_S: Final = 1.0
PACE_S: Final = 0.05
"""That a step waits for answers, or does not any more, is noted sooner, and after so long at the soonest."""

log = logging.getLogger(__name__)


@contextmanager
def noting_progress(step: RunningStep, journal: Journal, account: Account) -> Iterator[None]:
    """Note once a second what has changed, and at once that the step waits for answers.

    A step that is shorter, and asks nobody who has to look, has no task for it.
    """
    noting: list[asyncio.Task[None]] = []
    used = account.recorded()

    def begin() -> None:
        if noting:
            return
        task = asyncio.create_task(_note(step, journal, account, used), name=f"progress of step {step.index}")
        task.add_done_callback(_tell)
        noting.append(task)

    timer = asyncio.get_running_loop().call_later(NOTE_S, begin)
    if step.desk is not None:
        step.desk.on_wake = begin
    try:
        yield
    finally:
        timer.cancel()
        if step.desk is not None:
            step.desk.on_wake = lambda: None
        for task in noting:
            task.cancel()


def note(step: RunningStep, journal: Journal, account: Account) -> None:
    """Note how far it is."""
    if step.execution is not None:
        reply, used = step.execution.reply, json.dumps(account.snapshot())
        said = reply.stdout.text(), reply.stderr.text()
        journal.step_goes_on(step.row_id, step.elapsed_ms, *said, _waits(step), guardrail_snapshot=used)


async def note_all(kernel: Kernel | None, journal: Journal, account: Account) -> None:
    """See that the record has what a session's idle kernel and its running step have done by now."""
    if kernel is not None:
        await note_missed_cells(kernel, journal, account)
    if (step := journal.telling.running_step) is not None:
        note(step, journal, account)


async def _note(step: RunningStep, journal: Journal, account: Account, used: dict[str, int]) -> None:
    """`used`: what was used when the step began, which its row has."""
    noted = 0, 0, used
    while True:
        # Each note holds all the output so far: on a disk that does not answer, one a second would pile up.
        reply = None if step.execution is None or journal.is_behind else step.execution.reply
        if reply is not None:
            found = reply.stdout.chars + reply.stderr.chars, _waits(step), account.recorded()
            if found[2] != noted[2]:  # whoever opens the session again is to know what its children have used
                journal.counters_changed(account, "running")
            if found != noted:
                noted = found
                note(step, journal, account)
        await _pause(step.desk, waits=noted[1] > 0)


def _waits(step: RunningStep) -> int:
    return 0 if step.desk is None else step.desk.count


async def _pause(desk: Desk | None, *, waits: bool) -> None:
    """Wait until it is time to look again. `waits`: whether it is noted that the step waits for answers."""
    if desk is None:
        await asyncio.sleep(NOTE_S)
        return
    await asyncio.sleep(min(PACE_S, NOTE_S))
    with suppress(TimeoutError):
        async with asyncio.timeout(NOTE_S - PACE_S):
            while (desk.count > 0) is waits:
                await desk.change()


def _tell(task: asyncio.Task[None]) -> None:
    """The step goes on without it."""
    if not task.cancelled() and task.exception() is not None:
        log.error("the progress of a step could not be noted", exc_info=task.exception())
