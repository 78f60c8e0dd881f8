"""What rows of the store keep of a step's outcome and a kernel's end beside their texts, and what is made of it again.

Is: pure functions. Is not: the store, nor the event that a client reads (`events.py`). Above: `journal.py`,
`session/reopening.py`. Below: `session/steps/outcomes.py`, `store/store.py`'s rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rlm_kernel_mcp.errors import error_of
from rlm_kernel_mcp.kernel.untrusted.exploring import Use, use_of
from rlm_kernel_mcp.kernel.untrusted.reply import Reply
from rlm_kernel_mcp.session.context_reports import ContextReport, LoadingReport
from rlm_kernel_mcp.session.reports import LossReport, StepError, StepStatus, Subcalls, Variable, Wall
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.trace.displayed import DISPLAYED, displays_of, left_out_in
from rlm_kernel_mcp.session.trace.events import extra_of
from rlm_kernel_mcp.session.trace.facts import facts_of
from rlm_kernel_mcp.store.displays import DisplayRows
from rlm_kernel_mcp.store.store import EventRow
from rlm_kernel_mcp.text.wording import counted

KERNEL_GONE: Final = "kernel_gone"
"""Key in a session's `extra`: why its last kernel was stopped."""
REASON_CHARS: Final = 500
UNREPORTED: Final = "unreported"
"""Key there: a loss of which its last server has told nobody."""


USED: Final = ("functions", "claims", "explored")
"""What is kept here of a step's use of the exploring functions; the rest has rows of its own (`session/seen/`)."""


def error_json(outcome: Outcome) -> str | None:
    error = outcome.error
    if error is None:
        return None
    return json.dumps({"ename": error.ename, "evalue": error.evalue, "traceback": error.traceback})


def console_status(reply: Reply) -> StepStatus:
    if reply.ename == "KeyboardInterrupt":  # how a kernel reports that somebody stopped it
        return "interrupted"
    return "error" if reply.ename else "ok"


def console_outcome(reply: Reply) -> Outcome:
    """How a cell ended, without its texts."""
    error = StepError(reply.ename, reply.evalue, reply.traceback) if reply.ename else None
    return Outcome(console_status(reply), reply.elapsed_ms, error=error)


def context_words(context: ContextReport | None) -> str:
    """What the trace says of a context, if it is there."""
    if context is None:
        return ""
    documents = "" if context.kind == "json" else f" in {counted(context.document_count, 'document')}"
    return f"{context.kind} of {counted(context.chars, 'character')}{documents}"


def opened_words(context: ContextReport | LoadingReport, walls: Sequence[Wall]) -> str:
    """What the trace says of a session's beginning."""
    holding = ", ".join(wall.name for wall in walls if wall.holds) or "none"
    missing = ", ".join(wall.name for wall in walls if not wall.holds)
    loading = f"{context.kind} that is being loaded"
    words = context_words(context) if isinstance(context, ContextReport) else loading
    return words + f"; walls that hold: {holding}" + (f"; that do not: {missing}" if missing else "")


def ended_fields(outcome: Outcome, snapshot: Mapping[str, int], extra: str) -> dict[str, Any]:
    """What a step's row has of its end. `snapshot`: of its session's account."""
    return {
        "result_status": outcome.status,
        "duration_ms": outcome.duration_ms,
        "guardrail_snapshot": json.dumps(snapshot),
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
        "result": outcome.result,
        "error": error_json(outcome),
        "extra": extra,
    }


def extra_json(outcome: Outcome) -> str:
    """What else a step's report needs where it is made from the step's row."""
    rows = [[row.name, row.type, row.size] for row in outcome.updated]
    told: dict[str, Any] = {"updated": rows, "dropped": outcome.dropped, "late_chars": outcome.late_chars}
    told |= {"contexts_changed": outcome.contexts_changed} if outcome.contexts_changed else {}
    told |= {"news": outcome.news} if outcome.news else {}
    told |= {key: part for key in USED if (part := getattr(outcome.used, key))}
    told |= {"code_chars": outcome.code_chars} if outcome.code_chars else {}
    told |= {"subcalls": asdict(outcome.subcalls)} if outcome.subcalls is not None else {}
    told |= {"kernel_gone": True} if outcome.kernel_gone is not None else {}
    told |= {NODE_LOST: True} if outcome.status == "unknown" else {}
    told |= {} if outcome.lost is None else {"lost": _counted_loss(outcome.lost)}
    if outcome.refused is not None:
        told["refused"] = [outcome.refused.code, outcome.refused.message, outcome.refused.next_step]
    return json.dumps(told)


def stopped_json(reason: str, unreported: LossReport | None) -> str:
    """What a session's record has beside it without a kernel."""
    told = {} if unreported is None else {UNREPORTED: asdict(unreported)}
    return json.dumps({KERNEL_GONE: reason, **told})


def unreported_of(extra: dict[str, Any]) -> LossReport | None:
    """The loss that a session's last server has told nobody."""
    found = extra.get(UNREPORTED)
    if found is None:
        return None
    names = tuple((str(name), str(why)) for name, why in found["names"])
    return LossReport(**{**found, "names": names, "restored": tuple(map(str, found["restored"]))})


def updated_of(row: EventRow) -> tuple[Variable, ...]:
    """The names that a step bound, as its row has them."""
    return tuple(Variable(*found) for found in extra_of(row).get("updated", ()))


SERVER_ENDED: Final = "the server that ran this step ended before the step did"
NODE_LOST: Final = "node_lost"
"""Key in the `extra` of a step's row that another node took over without its end."""
NODE_ENDED: Final = "the node that ran this step was lost before it told the step's end"
ANSWERS_STAY: Final = "; its questions' answers are kept, and the same code asks for the rest alone"


@dataclass(frozen=True, slots=True)
class Said:
    """What a step's row says of what became of the texts in it."""

    used: Use
    """What it did with the exploring functions."""
    code_chars: int
    lost_kernel: bool
    """Whether its kernel went with it, so that not all that it has done was heard of."""


def said_of(row: EventRow) -> Said:
    extra = extra_of(row)
    count = extra.get("code_chars")
    is_lost = row.result_status == "unknown" or bool(extra.get("kernel_gone"))
    return Said(use_of(extra), count if type(count) is int else 0, is_lost)


def outcome_of(row: EventRow, displays: DisplayRows) -> Outcome:
    error: dict[str, str] | None = json.loads(row.error) if row.error else None
    extra = extra_of(row)
    facts = facts_of(extra)
    return Outcome(
        status=_status_of(row, extra),
        duration_ms=row.duration_ms,
        stdout=row.stdout or "",
        stderr=row.stderr or "",
        result=row.result,
        error=StepError(**error) if error else None,
        updated=updated_of(row),
        dropped=extra.get("dropped", {}),
        late_chars=extra.get("late_chars", 0),
        contexts_changed=tuple(extra.get("contexts_changed", ())),
        used=use_of(extra),
        news=extra.get("news", ""),
        subcalls=Subcalls(**extra["subcalls"]) if "subcalls" in extra else None,
        refused=error_of(*extra["refused"]) if "refused" in extra else None,
        lost=_loss_of(row, extra),
        displays=displays_of(displays.of(row.session_id, row.id or 0)) if DISPLAYED in facts else (),
        left_out=left_out_in(facts),
    )


def _status_of(row: EventRow, extra: Mapping[str, Any]) -> StepStatus:
    """How a step ended. Of one without an end it is known that its kernel is gone, unless its node went with it."""
    if row.result_status == "unknown" and not extra.get(NODE_LOST):
        return "kernel_died"
    return row.result_status  # type: ignore[return-value]  # we wrote it


def _counted_loss(loss: LossReport) -> list[str | int]:
    """Why the kernel was replaced; of the names how many are gone and back: the event of the restore has them."""
    gone, back = len(loss.names) + loss.more_lost, len(loss.restored) + loss.more_restored
    return [loss.reason[:REASON_CHARS], gone, back]


def _loss_of(row: EventRow, extra: dict[str, Any]) -> LossReport | None:
    if row.result_status == "unknown":
        if extra.get(NODE_LOST):  # the answers to its questions were kept there
            return LossReport(NODE_ENDED, (), ())
        return LossReport(SERVER_ENDED + (ANSWERS_STAY if "asks" in extra else ""), (), ())
    if "lost" not in extra:
        return None
    reason, gone, back = extra["lost"]
    return LossReport(reason, (), (), gone, back)
