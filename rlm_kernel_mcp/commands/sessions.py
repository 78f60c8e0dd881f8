"""`rlm-kernel-mcp sessions`: the sessions of this user's servers, as a table.

Is: one line a session. Is not: `rlm_list_sessions`, which puts its own server's sessions first. Above: `cli.py`. Below:
`live.py`.
"""

from __future__ import annotations

import sys

from rlm_kernel_mcp.commands.live import opened_store
from rlm_kernel_mcp.commands.table import aligned
from rlm_kernel_mcp.session.listing import counters_of, facts_of, is_live, recorded_status
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.store import SessionRecord
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted, damaged_words

HEAD = ("SESSION", "STATUS", "CONTEXT", "STEPS", "LAST USED", "SERVER")


def list_sessions(settings: Settings, *, ended_too: bool) -> int:
    """Print the live sessions, in which something can still be run, or all of them; the last used first."""
    with opened_store(settings) as store:
        found = store.sessions()
        rows = [(one, store.holder(one.session_id)) for one in found if ended_too or is_live(one)]
    if found.damaged:
        print(f"rlm-kernel-mcp: {damaged_words(found.damaged, 'session')}", file=sys.stderr)
    rows.sort(key=lambda row: row[0].last_used_at, reverse=True)
    if not rows:
        print("no session" if ended_too else "no live session; --all lists ended ones too", file=sys.stderr)
        return 0
    print("\n".join(aligned([HEAD, *(_cells(record, holder) for record, holder in rows)])))
    return 0


def _cells(record: SessionRecord, holder: int | None) -> tuple[str, ...]:
    chars, _ = facts_of(record)
    cells = (
        record.session_id,
        recorded_status(record, driven=holder is not None),
        record.kind if chars is None else f"{record.kind}, {counted(chars, 'character')}",
        f"{counters_of(record).step_index:,}",
        record.last_used_at,
        "none" if holder is None else f"pid {holder}",
    )
    return tuple(safe_text(cell) for cell in cells)
