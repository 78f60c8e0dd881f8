"""A context that is being read, beside everything else.

Is: the task and how far it is. Is not: what becomes of it (`loads.py`, `session/opening.py`). Above: those. Below:
`given.py`, `context/payload.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.session.contexts.given import Progress


@dataclass(slots=True)
class Reading:
    """A context's files on their way into a payload."""

    task: asyncio.Task[Payload]
    progress: Progress

    def discard(self) -> None:
        """Nobody wants it any more."""
        self.task.cancel()
        self.task.add_done_callback(
            lambda done: None if done.cancelled() or done.exception() else done.result().close()
        )
