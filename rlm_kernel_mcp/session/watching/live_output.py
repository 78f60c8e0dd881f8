"""The output of a running step, told while it comes.

Is: looking at what the step's reply holds anyway, some times a second and only while somebody watches; no text is kept
twice. Is not: the step's record, which has all of it (`session/trace/progress.py` notes it there meanwhile). Above:
`feeds.py`. Below: `events.py`, `session/steps/run.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.session.watching.events import CODE_CHARS, PIECE_CHARS, STREAMS, Begin, Output, Stream

if TYPE_CHECKING:  # a host has watchers before it has a kernel, and Jupyter with it
    from rlm_kernel_mcp.session.steps.run import RunningStep

PAUSE_S: Final = 0.1
"""Between two looks."""
LOOK_CHARS: Final = 16_000
"""Characters of a stream that one look tells: the last ones. So a step that floods costs its neighbours a bounded
time, and a watcher has at most 160,000 characters a second of each stream to read."""


class LiveOutput:
    """How much of one step's output was told."""

    def __init__(self, step: RunningStep, publish: Callable[[Output], None], is_wanted: Callable[[], bool]) -> None:
        """`is_wanted`: whether anybody still watches."""
        self.step = step
        self._publish, self._is_wanted = publish, is_wanted
        self._told: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self._next: asyncio.TimerHandle | None = None

    def start(self, *, from_now: bool) -> None:
        """Look again and again, until the step has ended or nobody watches. `from_now`: what was printed is known."""
        if from_now and self.step.execution is not None:
            reply = self.step.execution.reply
            self._told = {"stdout": reply.stdout.chars, "stderr": reply.stderr.chars}
        # No task: most steps end before the first look.
        self._next = asyncio.get_running_loop().call_later(PAUSE_S, self._go_on)

    def stop(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()

    def look(self) -> None:
        """Tell what has come since the last look."""
        if self.step.execution is None:
            return
        reply = self.step.execution.reply
        for stream in STREAMS:
            text = reply.stdout if stream == "stdout" else reply.stderr
            start = max(self._told[stream], text.chars - LOOK_CHARS)
            new = text.since(start)
            for at in range(0, len(new), PIECE_CHARS):
                self._publish(
                    {
                        "type": "output",
                        "step": self.step.index,
                        "stream": stream,
                        "at": start + at,
                        "text": new[at : at + PIECE_CHARS],
                    }
                )
            self._told[stream] = text.chars

    def _go_on(self) -> None:
        if self._is_wanted() and not self.step.finished.is_set():
            self.look()
            self._next = asyncio.get_running_loop().call_later(PAUSE_S, self._go_on)


def begin_of(step: RunningStep) -> Begin:
    """What is told of a step as it begins, or later to who comes later."""
    return {
        "type": "begin",
        "id": str(step.row_id),
        "step": step.index,
        "code": step.code[:CODE_CHARS],
        "code_chars": len(step.code),
        "elapsed_ms": step.elapsed_ms,
    }
