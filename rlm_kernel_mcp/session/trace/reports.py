"""What a session answers about its trace: plain data between `session/` and `server/`.

Is: frozen dataclasses whose fields are the contract's, with its units. Is not: JSON, MCP or markdown, which
`server/responses.py` makes of them. All text here is already safe to show (`text/safe_text.py`), but for what a program
asked to have raw.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from rlm_kernel_mcp.session.reports import StepError


@dataclass(frozen=True, slots=True)
class Displayed:
    """One thing that a step displayed, raw: what makes it safe is whoever shows it, and nothing here renders it.

    `place`: which of the step's displays, and 0 of the value of its last expression; one value in several types has one
    place. `why`: there is no `data`.
    """

    mime_type: str
    place: int
    size_bytes: int
    data: str | None
    """Base64 of a PNG or JPEG; else text."""
    why: str | None = None


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One event of the trace. The last eight fields are filled only with `detail="full"`.

    Of `subcalls`, the questions that code asked together, `stdout` has a line of JSON for each, with its texts' heads.
    `contexts_changed`: as of a step's report. `functions`: how often a step called each of ours. `evidence`: what a
    final answer cites, as `Checked.record` has it. `facts`: what else is known, as `facts.py` has it.
    `displays`: only where the whole trace is read for a person or a file.
    """

    ts: str
    step_index: int
    action: Literal[
        "init_context", "run_repl", "interrupt", "restore", "finalize", "add_context", "subcalls", "stop", "refused"
    ]
    source: Literal["mcp", "console"]
    result_status: str
    summary: str
    duration_ms: int
    guardrail_snapshot: dict[str, int]
    contexts_changed: tuple[str, ...] = ()
    functions: dict[str, int] = field(default_factory=dict)
    code: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    result: str | None = None
    error: StepError | None = None
    evidence: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    displays: tuple[Displayed, ...] = ()


@dataclass(frozen=True, slots=True)
class TracePage:
    """`data` of `rlm_get_trace`. `note`: what could not be read, if anything."""

    events: tuple[TraceEvent, ...]
    next_offset: int | None
    note: str | None = None
