"""What a session is asked and what it answers: plain data between `session/` and `server/`.

Is: frozen dataclasses whose fields are the contract's, with its units. Is not: JSON, MCP or markdown, which
`server/responses.py` makes of them; and contexts (`context_reports.py`) or the trace (`trace/reports.py`) have theirs.
All text here is already safe to show (`text/safe_text.py`), but for what a program asked to have raw.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rlm_kernel_mcp.kernel.untrusted.shown.displays import Display
from rlm_kernel_mcp.session.answering.questions import Answerer
from rlm_kernel_mcp.session.context_reports import ContextReport, LoadingReport
from rlm_kernel_mcp.session.evidence.citations import Citation, Coverage
from rlm_kernel_mcp.session.functions.offered import HostFunction
from rlm_kernel_mcp.session.parked.reports import QuestionPage
from rlm_kernel_mcp.text.wording import counted

EndStatus = Literal["ok", "error", "timeout", "interrupted", "kernel_died", "unknown"]  # unknown: its node was lost
StepStatus = Literal[EndStatus, "running", "needs_answers", "stopped"]
GuardrailStop = Literal["max_steps", "timeout", "budget_exceeded"]
Connection = Literal["this", "other"]
SessionStatus = Literal["idle", "running", "stopped", "finalized", "dead"]


@dataclass(frozen=True, slots=True)
class Guardrails:
    """A session's guardrails, as asked for at its start."""

    max_steps: int = 64
    max_runtime_ms: int = 120_000
    budget_limit: int = 100_000
    step_timeout_ms: int = 60_000
    max_subcalls: int = 1_000
    subcall_tokens_limit: int = 2_000_000
    wait_limit_ms: int = 600_000
    """How long one step may wait for answers. These three hold where somebody answers, and are not told elsewhere."""

    def recorded(self) -> dict[str, int]:
        """What a session's record has of it: of the three only what is not the default.

        A server of before knows no more than the first four, and takes a record with others for damaged.
        """
        later = ("max_subcalls", "subcall_tokens_limit", "wait_limit_ms")
        defaults = asdict(Guardrails())
        return {name: value for name, value in asdict(self).items() if name not in later or value != defaults[name]}


@dataclass(frozen=True, slots=True)
class Counters:
    """The running account."""

    step_index: int = 0
    runtime_ms: int = 0
    budget_used: int = 0
    child_steps: int = 0  # of the sessions that its code has asked for: they count for `max_steps` as its own do


@dataclass(frozen=True, slots=True)
class SubcallsUsed:
    """The same of sub-calls: questions that were sent, and their tokens."""

    calls: int = 0
    tokens: int = 0

    def recorded(self) -> dict[str, int]:
        """What a session's record has of it beside its counters: nothing where there is nothing."""
        return {"subcalls": self.calls, "subcall_tokens": self.tokens} if self.calls else {}


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of the limits after a step; of sub-calls None where nobody answers any."""

    steps_left: int
    runtime_left_ms: int
    chars_left: int
    subcalls_left: int | None = None
    subcall_tokens_left: int | None = None


@dataclass(frozen=True, slots=True)
class StepError:
    """An exception raised by the user's code."""

    ename: str
    evalue: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A name that a step bound or rebound. `size` is `len()` where the type is a built-in container or text."""

    name: str
    type: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Truncated:
    """Number of characters cut from each text of this reply."""

    stdout: int = 0
    stderr: int = 0
    result: int = 0


@dataclass(frozen=True, slots=True)
class LossReport:
    """What a killed kernel took with it, and what the fresh one got back."""

    reason: str
    names: tuple[tuple[str, str], ...]
    """(name, why) of each name that is gone, or is back with an earlier value; such a name is not in `restored`."""
    restored: tuple[str, ...]
    more_lost: int = 0
    """How many names are not listed."""
    more_restored: int = 0


@dataclass(frozen=True, slots=True)
class Subcalls:
    """What has become of the questions of one step. `failed`: by code. `usd`: None where it is not known."""

    asked: int
    answered: int
    cached: int
    duplicate: int
    failed: dict[str, int]
    tokens_in: int
    tokens_out: int
    usd: float | None
    waited_ms: int

    @property
    def note(self) -> str:
        """What is to be said of those that failed; empty where none has."""
        codes = ", ".join(f"{code} {count:,}" for code, count in self.failed.items())
        return f"{sum(self.failed.values()):,} of {counted(self.asked, 'sub-call')} failed: {codes}." if codes else ""


@dataclass(frozen=True, slots=True)
class StepReport:
    """`data` of `rlm_run_repl`, `rlm_await_step`, `rlm_interrupt` and `rlm_answer`. `contexts_changed`: of whose files.

    `questions`: those that wait for an answer, of a step that `needs_answers`. `rejected`: of `rlm_answer` alone, the
    numbers of answers that nobody waited for. `images`: pictures and SVG texts that it displayed, all that are kept.
    `not_durable`: names whose values are lost with this machine if it is lost now (in a cluster alone).
    """

    status: StepStatus
    step_index: int
    duration_ms: int
    budget: Left
    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    error: StepError | None = None
    updated_vars_summary: tuple[Variable, ...] = ()
    guardrail_stop: GuardrailStop | None = None
    truncated: Truncated = field(default_factory=Truncated)
    lost: LossReport | None = None
    note: str | None = None
    images: tuple[Display, ...] = ()
    contexts_changed: tuple[str, ...] = ()
    subcalls: Subcalls | None = None
    questions: QuestionPage | None = None
    rejected: tuple[int, ...] | None = None
    not_durable: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """What it gives of a step's output and of its questions, as its client gets it."""
        error = (self.error.evalue, self.error.traceback) if self.error is not None else ()
        asked = (
            () if self.questions is None else (part for one in self.questions.items for part in (one.prompt, one.text))
        )
        return (self.stdout, self.stderr, self.result or "", *error, *filter(None, asked))


@dataclass(frozen=True, slots=True)
class Wall:
    """One confinement layer and whether it holds this kernel."""

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Opened:
    """`data` of `rlm_init_context`."""

    session_id: str
    config: Guardrails
    counters: Counters
    context: ContextReport | LoadingReport
    namespace: dict[str, str]
    imports: tuple[str, ...]
    """Importable modules; `("*",)` under `RLM_IMPORT_POLICY=any`."""
    walls: tuple[Wall, ...]
    answerer: Answerer | None = None
    """Who answers what its code asks."""
    host_functions: tuple[HostFunction, ...] = ()
    """What its code may call."""


@dataclass(frozen=True, slots=True)
class VariableSlice:
    """`data` of `rlm_get_var`. `value` is a JSON value where `text` is false, else a slice of text.

    `note`: how to get an object's own text, where `value` shows its fields.
    """

    name: str
    type: str
    size: int | None
    value: Any
    text: bool
    total_chars: int
    offset: int
    next_offset: int | None
    truncated: bool
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    steps: int
    runtime_ms: int
    budget_used: int
    started_at: str
    finished_at: str


@dataclass(frozen=True, slots=True)
class FinalReport:
    """`data` of `rlm_finalize`. `final_answer` may be cut; `final_answer_chars` is its whole length.

    `cut_chars`: how many of its characters are not shown. `note`: which call gets them, where the text cannot say it.
    `hashes`: by name the SHA-256 of contexts so large that the answers that loaded them may have had none.
    """

    final_answer: str
    final_answer_chars: int
    finish_reason: str
    stats: Stats
    citations: tuple[Citation, ...] | None = None
    coverage: Coverage | None = None
    """Both None: it was given to a server that did not check."""
    cut_chars: int = 0
    note: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionList:
    """`data` of `rlm_list_sessions`, the last used first. `omitted`: how many more; `note`: what could not be read."""

    rows: tuple[SessionSummary, ...]
    omitted: int
    offset: int = 0  # how many stand before them
    note: str | None = None
    places: tuple[int, ...] = ()
    """The place of each row, and the place after the last: a record that cannot be read has a place but no row."""

    @property
    def goes_on(self) -> int:
        """The place at which the rest begins."""
        return self.places[len(self.rows)] if self.places else self.offset + len(self.rows)


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One row of `rlm_list_sessions`. `loading`: how far its first context is; `changed`: whether its files have."""

    session_id: str
    status: SessionStatus
    created_at: str
    last_used_at: str
    step_index: int
    kind: str
    chars: int | None
    counters: Counters
    sha256: str | None = None
    """Of the first context, where the answer that opened the session may have had none; once it is made."""
    loading: LoadingReport | None = None
    changed: bool = False
    connection: Connection | None = None
    """Whose it is: of the connection that asks, of another one, or of none that is there."""
    parent: str | None = None  # the session whose code asked for it
    depth: int = 0
    waits_for_answers: int = 0
    """How many questions of its step nobody has answered yet."""
    ended: str | None = None  # why a child has ended without a final answer
    question: str | None = None
    client: str | None = None  # what it is for, and what the client calls itself that opened it
