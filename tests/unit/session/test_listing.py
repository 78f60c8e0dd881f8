"""Which sessions are listed: a server's own, and those of others that were used last."""

from __future__ import annotations

from rlm_kernel_mcp.session.listing import OTHERS_MAX, shown
from rlm_kernel_mcp.session.store import SessionRecord


def record(number: int) -> SessionRecord:
    return SessionRecord(
        session_id=f"s_{number}", created_at="2026", last_used_at=f"{number:06}", kind="text", status="idle"
    )


def test_of_many_sessions_those_used_last_are_shown_in_their_order() -> None:
    """A month's worth of them would fill a reader's window."""
    records = [record(number) for number in range(OTHERS_MAX + 50)]
    assert shown(records, ()) == records[50:]
    assert shown(records[:5], ()) == records[:5]


def test_a_server_s_own_sessions_are_always_shown() -> None:
    """However long ago they were used; they take nobody's place."""
    records = [record(number) for number in range(OTHERS_MAX + 50)]
    assert shown(records, {"s_3"}) == [records[3], *records[50:]]
