"""What a call wants of the step that it begins, beside its code and its time.

Is: types alone. Above: `session/registry.py`, `session/session.py`. Below: `session/steps/raw_texts.py`,
`session/functions/callee.py`.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from rlm_kernel_mcp.session.functions.callee import Callee
from rlm_kernel_mcp.session.steps.raw_texts import Tell


class StepWishes(TypedDict):
    """Of `Registry.run_repl` and `Session.run`."""

    wait_ms: int
    """Milliseconds after which the call is told how far the step is."""
    max_output_chars: int | None
    """None, of a program: its texts are raw and whole."""
    tell: NotRequired[Tell | None]
    """Is told these as they come."""
    answers: NotRequired[bool]
    """Whether anybody answers what its code asks, where whoever drives the session does; True."""
    callee: NotRequired[Callee | None]
    """A program, whose functions its code may call."""
