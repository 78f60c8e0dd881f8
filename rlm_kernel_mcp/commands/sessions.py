"""`rlm-kernel-mcp sessions`: the sessions of this user's servers, as a table.

Is: one line a session. Is not: `rlm_list_sessions`, which knows its own server's alone.
Above: `cli.py`. Below: `live.py`.
"""

from __future__ import annotations

import json
import sys

from rlm_kernel_mcp.commands.live import is_live, opened_store
from rlm_kernel_mcp.commands.table import aligned
from rlm_kernel_mcp.session.cutting import safe_text
from rlm_kernel_mcp.session.store import SessionRecord
from rlm_kernel_mcp.settings import Settings

HEAD = ("SESSION", "STATUS", "CONTEXT", "STEPS", "LAST USED", "SERVER")


def list_sessions(settings: Settings, *, ended_too: bool) -> int:
    """Print the live sessions, or all of them, the last used first."""
    with opened_store(settings) as store:
        records = [record for record in store.sessions() if ended_too or is_live(record)]
    records.sort(key=lambda record: record.last_used_at, reverse=True)
    if not records:
        print("no live session; --all lists the ended ones", file=sys.stderr)
        return 0
    print("\n".join(aligned([HEAD, *(_row(record) for record in records)])))
    return 0


def _row(record: SessionRecord) -> tuple[str, ...]:
    context, counters = json.loads(record.context), json.loads(record.counters)
    status = record.status if is_live(record) or record.status == "finalized" else "dead"
    cells = (
        record.session_id,
        status,
        f"{record.kind}, {context.get('chars', 0):,} characters",
        f"{counters.get('step_index', 0):,}",
        record.last_used_at,
        f"pid {record.server_pid}",
    )
    return tuple(safe_text(cell) for cell in cells)
