"""Rows of `rlm_list_sessions`: which, and each from its record and the live session where this server has it."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from typing import Final

from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.shapes import Counters, SessionStatus, SessionSummary
from rlm_kernel_mcp.session.store import SessionRecord

OTHERS_MAX: Final = 100
"""Sessions without a place in this server that are listed: a month's worth of them would fill a reader's window."""

STATUSES: dict[str, SessionStatus] = {
    "idle": "idle",
    "running": "running",
    "stopped": "stopped",
    "finalized": "finalized",
    "dead": "dead",
}


def shown(records: Sequence[SessionRecord], own: Container[str]) -> list[SessionRecord]:
    """The records of a server's own sessions and those of the `OTHERS_MAX` others that were used last, in order."""
    others = sorted((record.last_used_at for record in records if record.session_id not in own), reverse=True)
    since = others[OTHERS_MAX - 1] if len(others) >= OTHERS_MAX else ""
    return [record for record in records if record.session_id in own or record.last_used_at >= since]


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
