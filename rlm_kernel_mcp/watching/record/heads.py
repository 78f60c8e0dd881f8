"""What stands above a session's steps on the live page: what it is for, how it stands, its limits and its contexts.

Is: the first message of a stream, and how the session stands, by its record. Is not: an event (`shaping.py`), nor what
was searched in a context (`maps.py`). Above: `history.py`, `listed.py`, `watching/live/session_stream.py`. Below:
`shaping.py`, `maps.py`, `session/listing.py`, `session/seen/maps.py`, `store/store.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.fields import count_of
from rlm_kernel_mcp.session.listing import (
    counters_of,
    is_driven,
    recorded_status,
    waiting_answers,
)
from rlm_kernel_mcp.session.listing import limits_of as recorded_limits
from rlm_kernel_mcp.session.listing import used_of as recorded_use
from rlm_kernel_mcp.session.reports import SessionStatus
from rlm_kernel_mcp.session.seen.maps import reports_of
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.watching.messages.events import CALLS_MAX, Used
from rlm_kernel_mcp.watching.messages.stream import ContextHead, Head
from rlm_kernel_mcp.watching.record.maps import Maps
from rlm_kernel_mcp.watching.record.shaping import limits_of, used_of

QUESTION_CHARS: Final = 2_000
CONTEXTS_MAX: Final = 64
WALLS_MAX: Final = 32
NAME_CHARS: Final = 200


def head_of(store: Store, record: SessionRecord, maps: Maps) -> Head:
    """The first message of a session's stream. Waits for the disk."""
    used, limits = standing(store, record)
    return {
        "type": "head",
        "id": record.session_id,
        "title": None if record.question is None else record.question[:QUESTION_CHARS],
        "status": status_of(store, record),
        "client": None if record.client is None else record.client[:NAME_CHARS],
        "opened": record.created_at,
        "limits": limits,
        "used": used,
        "walls": list(_walls(record))[:WALLS_MAX],
        "contexts": [_context(row, maps) for row in reports_of(record)[:CONTEXTS_MAX]],
        "parent": record.parent,
        "children": store.subcalls.children(record.session_id)[:CALLS_MAX],
        "steps": counters_of(record).step_index,
    }


def status_of(store: Store, record: SessionRecord) -> SessionStatus:
    """How the session stands, by its record and by whether a server drives it."""
    return recorded_status(record, driven=is_driven(store, record))


def waits(store: Store, record: SessionRecord) -> int:
    """For how many answers its step waits."""
    return waiting_answers(store, record) if is_driven(store, record) else 0


def standing(store: Store, record: SessionRecord) -> tuple[Used, Used]:
    """What is used, and the limits: those of sub-calls too, as the newest step's event says them."""
    step = counters_of(record).step_index
    rows = [head.row for head in store.heads(record.session_id, step, step) if head.row.guardrail_snapshot != "{}"]
    if rows:
        used, limits = used_of(rows[-1]), limits_of(rows[-1])
        return used | in_words(recorded_use(record)), limits
    return in_words(recorded_use(record)), in_words(recorded_limits(record))


def in_words(counts: Mapping[str, int]) -> Used:
    """Counters of the record by the page's names."""
    steps, runtime, chars = (counts.get(name, 0) for name in ("step_index", "runtime_ms", "budget_used"))
    return {"steps": steps, "runtime_ms": runtime, "chars": chars}


def _context(row: Mapping[str, Any], maps: Maps) -> ContextHead:
    name, held, state = str(row.get("name"))[:NAME_CHARS], row.get("held"), row.get("state", "ready")
    chars, lines, byte_count, documents = (
        count_of(row.get(key)) or 0 for key in ("chars", "lines", "bytes", "document_count")
    )
    return {
        "name": name,
        "state": state if state in ("loading", "failed") else "ready",
        "chars": chars,
        "lines": lines,
        "bytes": byte_count,
        "documents": documents,
        "held": held if held in ("mapped", "spooled") else "memory",
        "stretches": maps.stretches(name, 0, chars),
    }


def _walls(record: SessionRecord) -> Iterator[str]:
    found = json.loads(record.walls or "[]")
    for wall in found if isinstance(found, list) else ():
        if isinstance(wall, dict) and wall.get("holds"):
            yield str(wall.get("name"))[:NAME_CHARS]
