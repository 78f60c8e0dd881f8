"""What a running step has printed so far, written into its row now and then.

Is: for whoever looks from outside, with `rlm-kernel-mcp trace` or from another server. Is not: the step's record, which
is written when it ends. Above: `session/session.py`. Below: `journal.py`, `session/steps/run.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rlm_kernel_mcp.session.steps.run import RunningStep
from rlm_kernel_mcp.session.trace.journal import Journal

NOTE_S: Final = 1.0

log = logging.getLogger(__name__)


@contextmanager
def noting_progress(step: RunningStep, journal: Journal) -> Iterator[None]:
    """Note once a second what has changed of a step's output, and of how many answers it waits for.

    A step that is shorter has no task for it.
    """
    noting: list[asyncio.Task[None]] = []

    def begin() -> None:
        task = asyncio.create_task(_note(step, journal), name=f"progress of step {step.index}")
        task.add_done_callback(_tell)
        noting.append(task)

    timer = asyncio.get_running_loop().call_later(NOTE_S, begin)
    try:
        yield
    finally:
        timer.cancel()
        for task in noting:
            task.cancel()


async def _note(step: RunningStep, journal: Journal) -> None:
    noted = 0, 0
    while True:
        # Each note holds all the output so far: on a disk that does not answer, one a second would pile up.
        reply = None if step.execution is None or journal.is_behind else step.execution.reply
        waits = 0 if step.desk is None else step.desk.count
        if reply is not None and (found := (reply.stdout.chars + reply.stderr.chars, waits)) != noted:
            noted = found
            texts = reply.stdout.text(), reply.stderr.text()
            journal.step_goes_on(step.row_id, step.elapsed_ms, *texts, waits)
        await asyncio.sleep(NOTE_S)


def _tell(task: asyncio.Task[None]) -> None:
    """The step goes on without it."""
    if not task.cancelled() and task.exception() is not None:
        log.error("the progress of a step could not be noted", exc_info=task.exception())
