"""What one session tells of itself, if anybody watches it, or its user wants spans.

Is: what happens, as events. Each of these calls looks up two names where nobody does, and does nothing more. Is not:
who watches (`feeds.py`), or what an event (`events.py`) or a span has (`telemetry/`). Above: `session/session.py`,
`session/execution.py`, `session/trace/journal.py`. Below: `feeds.py`, `events.py`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import LossReport, StepReport
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.steps.run import RunningStep
from rlm_kernel_mcp.session.watching.events import SAID_CHARS, Recorded, Refused, loss_fields, now, used_of
from rlm_kernel_mcp.session.watching.feeds import Feeds
from rlm_kernel_mcp.session.watching.live_output import begin_of
from rlm_kernel_mcp.store.store import EventRow

if TYPE_CHECKING:
    from rlm_kernel_mcp.telemetry.recording import SessionSpans

Kind = Literal["opened", "context_added", "step", "interrupt", "restore", "final"]
KINDS: Final[dict[str, Kind]] = {
    "init_context": "opened",
    "add_context": "context_added",
    "run_repl": "step",
    "interrupt": "interrupt",
    "restore": "restore",
    "finalize": "final",
}
"""What a row's action is called."""


class Telling:
    """One session's."""

    def __init__(self, session_id: str, feeds: Feeds | None = None, spans: SessionSpans | None = None) -> None:
        """`feeds`: of the process; None: nobody can watch. `spans`: the session's; None: they are not wanted."""
        self._session_id, self._feeds, self._spans = session_id, feeds or Feeds(), spans
        self.final: EventRow | None = None
        """The final answer's row, until the record has it."""
        self._step: RunningStep | None = None

    @property
    def running_step(self) -> RunningStep | None:
        """The step that runs, from its row on."""
        return None if self._step is None or self._step.finished.is_set() else self._step

    def recorded(self, row: EventRow, loss: LossReport | None = None) -> None:
        """A row that is whole goes into the record. `loss`: of a restore."""
        if self._spans is not None and row.action == "init_context":
            self._spans.begin(is_new=True)
        if (feed := self._feeds.of(self._session_id)) is not None and row.action in KINDS:
            event = _of_row(row)
            feed.publish(event if loss is None else event | loss_fields(loss))  # type: ignore[arg-type]

    def step_begins(self, step: RunningStep) -> None:
        """Its row is written, or will be before its code runs."""
        self._step = step
        if self._spans is not None:
            self._spans.step_begins(step.index, step.code)
        if (feed := self._feeds.of(self._session_id)) is not None:
            feed.publish(begin_of(step))
            feed.follow(step)

    def step_ended(self, step: RunningStep, outcome: Outcome, account: Account) -> None:
        """The record has the step's end, or cannot have it now."""
        self._step = None  # with all of its output
        if self._spans is not None:
            self._spans.step_ended(step.index, outcome, used_of(account))
        if (feed := self._feeds.of(self._session_id)) is not None:
            feed.catch_up(step, is_over=True)
            feed.publish(
                {
                    "type": "step",
                    "id": str(step.row_id),
                    "ts": now(),
                    "step": step.index,
                    "status": outcome.status,
                    "source": "mcp",
                    "ms": outcome.duration_ms,
                    "used": used_of(account),
                    "printed": {"stdout": len(outcome.stdout), "stderr": len(outcome.stderr)},
                }
            )

    def limit_reached(self, row: EventRow, account: Account) -> None:
        """A limit was reached, which the record has too."""
        if (feed := self._feeds.of(self._session_id)) is not None and account.stop is not None:
            used = used_of(account)
            feed.publish({"type": "limit", "id": str(row.id), "ts": row.ts, "limit": account.stop, "used": used})

    def answered(self, row: EventRow) -> None:
        """The final answer is taken, and its row on its way into the record."""
        self.final = row
        if self._spans is not None:
            self._spans.finalized(row.result_status)

    def finalized(self) -> None:
        """The record has the final answer; it is told once."""
        row, self.final = self.final, None
        if row is not None:
            self.recorded(row)

    def refused(self, error: RlmError, row: EventRow | None = None) -> None:
        """A call was answered with an error. `row`: where the record has it."""
        self._not_served(error.code, error.message, row)

    def stopped(self, report: StepReport, row: EventRow | None = None) -> None:
        """A step was not run, since a limit was reached."""
        self._not_served(report.status, report.note or "", row)

    def _not_served(self, code: str, message: str, row: EventRow | None) -> None:
        if (feed := self._feeds.of(self._session_id)) is not None:
            told: Refused = {"type": "refused", "ts": now(), "code": code, "message": message[:SAID_CHARS]}
            feed.publish(told if row is None else {**told, "id": str(row.id)})

    def kernel_ended(self, reason: str) -> None:
        if (feed := self._feeds.of(self._session_id)) is not None:
            feed.publish({"type": "kernel_ended", "ts": now(), "reason": reason[:SAID_CHARS]})


def _of_row(row: EventRow) -> Recorded:
    used = json.loads(row.guardrail_snapshot)
    steps = used["step_index"] + used.get("child_steps", 0)
    return {
        "type": KINDS[row.action],
        "id": str(row.id),
        "ts": row.ts,
        "step": row.step_index,
        "status": row.result_status,
        "source": row.source,
        "summary": row.summary[:SAID_CHARS],
        "ms": row.duration_ms,
        "used": {"steps": steps, "runtime_ms": used["runtime_ms"], "chars": used["budget_used"]},
    }
