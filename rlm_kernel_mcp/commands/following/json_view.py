"""The trace for programs: one JSON object a line for each event that is over.

Is: an event with its texts, safe, as `trace --json` has it. Is not: what comes while a step runs. Above: `follow.py`.
Below: `showing/json_line.py`, `session/trace/events.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from rlm_kernel_mcp.commands.showing.json_line import json_line
from rlm_kernel_mcp.session.trace.events import Texts, whole_event
from rlm_kernel_mcp.session.watching.events import Stream
from rlm_kernel_mcp.store.store import EventHead


class JsonView:
    """Writes a line for each event that is over, and nothing else."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def event(self, head: EventHead, texts: Texts) -> None:
        """One that is over."""
        self._write(json_line(whole_event(head, texts)) + "\n")

    def running(self, head: EventHead, texts: Texts) -> None:
        """Its line comes when it is over."""

    def begin(self, row_id: int, step: int, code: str, code_chars: int) -> None:
        """As `running`."""

    def output(self, stream: Stream, at: int, text: str) -> None:
        """As `running`."""

    def line(self, text: str) -> None:
        """What is not an event of the trace has no line."""
