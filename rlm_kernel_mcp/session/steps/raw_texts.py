"""A step's texts for a program that reads them: as the kernel gave them, within the budget.

Is: how much of each is delivered, and the same as it comes while the step runs. Is not: text that is safe to show
(`text/safe_text.py`), which a person or a model gets. Above: `delivery.py`, `session/session.py`. Below: `run.py`,
`text/safe_text.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

from rlm_kernel_mcp.session.reports import StepError, StepReport
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.steps.run import RunningStep
from rlm_kernel_mcp.text.safe_text import Cut, share

log = logging.getLogger(__name__)

PAUSE_S: Final = 0.05
"""Between two looks at a running step's output: each joins what came, of up to some millions of characters."""
TEXTS: Final = 6
"""Texts of a report that share what is left of the budget."""

Stream = Literal["stdout", "stderr"]
STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")
Tell = Callable[[Stream, str], None]
"""Is told of each piece of output. It must neither wait nor raise."""


def raw_cuts(outcome: Outcome, limit: int) -> tuple[str, dict[str, Cut]]:
    """The exception's name and every text of a reply, from its beginning, within `limit` characters in all."""
    error = outcome.error or StepError("", "", "")
    texts = {
        "ename": error.ename,
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
        "result": outcome.result or "",
        "evalue": error.evalue,
        "traceback": error.traceback,
    }
    rooms = share([len(text) for text in texts.values()], limit)
    cuts = {
        name: Cut(text[:room], len(text) - room, says_where=room == len(text))
        for (name, text), room in zip(texts.items(), rooms, strict=True)
    }
    return cuts.pop("ename").text, cuts


class Told:
    """How much of a running step's output was told."""

    def __init__(self, step: RunningStep, tell: Tell, room: int) -> None:
        """`room`: characters of each stream that may be told before the step's end."""
        self._step, self._tell, self._room = step, tell, room
        self._chars = dict.fromkeys(STREAMS, 0)

    def look(self) -> None:
        """Tell what has come since the last look."""
        if self._step.execution is None:
            return
        reply = self._step.execution.reply
        for stream in STREAMS:
            text = reply.stdout if stream == "stdout" else reply.stderr
            if min(text.chars, self._room) > self._chars[stream]:
                self._say(stream, text.text()[: self._room])

    def end(self, report: StepReport) -> None:
        """Tell the rest: in all, what the report has."""
        for stream in STREAMS:
            self._say(stream, getattr(report, stream))

    def _say(self, stream: Stream, text: str) -> None:
        new = text[self._chars[stream] :]
        if new:
            self._chars[stream] += len(new)
            self._tell(stream, new)


@contextmanager
def telling(step: RunningStep, tell: Tell, chars_left: int) -> Iterator[Told]:
    """Tell a step's output as it comes, as far as its report will have it too, whatever that shares the budget with."""
    told = Told(step, tell, chars_left // TEXTS)
    came = asyncio.Event()
    step.on_message = came.set
    watching = asyncio.create_task(_watch(told, came), name=f"output of step {step.index}")
    watching.add_done_callback(_log_failure)
    try:
        yield told
    finally:
        watching.cancel()


async def _watch(told: Told, came: asyncio.Event) -> None:
    while True:
        await came.wait()
        came.clear()
        told.look()
        await asyncio.sleep(PAUSE_S)


def _log_failure(task: asyncio.Task[None]) -> None:
    """The report has all of it nevertheless."""
    if not task.cancelled() and task.exception() is not None:
        log.error("the output of a step is not told any more", exc_info=task.exception())
