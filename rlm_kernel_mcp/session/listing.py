"""One row of `rlm_list_sessions` from a record, and from the live session where this server has it."""

from __future__ import annotations

import json

from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.shapes import Counters, SessionStatus, SessionSummary
from rlm_kernel_mcp.session.store import SessionRecord

STATUSES: dict[str, SessionStatus] = {
    "idle": "idle",
    "running": "running",
    "stopped": "stopped",
    "finalized": "finalized",
    "dead": "dead",
}


def recorded_status(record: SessionRecord, *, driven: bool) -> SessionStatus:
    """The status by the record alone. A step that ran when its server was killed runs no more: the session is idle.

    `driven`: whether a living server drives the session.
    """
    status = STATUSES.get(record.status, "idle")
    return "idle" if status == "running" and not driven else status


def summary(record: SessionRecord, session: Session | None, *, driven: bool) -> SessionSummary:
    """The row; a session that no server has comes back on use."""
    counters = session.counters if session is not None else Counters(**json.loads(record.counters or "{}"))
    return SessionSummary(
        session_id=record.session_id,
        status=session.status if session is not None else recorded_status(record, driven=driven),
        created_at=record.created_at,
        last_used_at=session.last_used_at if session is not None else record.last_used_at,
        step_index=counters.step_index,
        kind=record.kind,
        chars=int(json.loads(record.context).get("chars", 0)),
        counters=counters,
    )
