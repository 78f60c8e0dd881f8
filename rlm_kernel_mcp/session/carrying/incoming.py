"""A session that another node had, made one of this server's: its values into files, its rows into the store.

Is: the order, and what the rows say differently here. Is not: where the bytes come from, nor whose the session is
(`cluster/`). It is called in a thread, by `moving.py`. Below: `session/snapshots/carried.py`, `store/carrying/`.

What comes is trusted to be what a node has written, and to be damaged all the same: whatever does not fit together is
refused as a whole, and nothing of it stays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rlm_kernel_mcp.policy import SnapshotLimits
from rlm_kernel_mcp.session.carrying.outgoing import Sent
from rlm_kernel_mcp.session.snapshots.carried import Frame, NotAsWritten, bring_in
from rlm_kernel_mcp.session.snapshots.file import SnapshotFile
from rlm_kernel_mcp.session.trace.events import extra_of
from rlm_kernel_mcp.session.trace.rows import NODE_LOST, stopped_json
from rlm_kernel_mcp.store.carrying.bringing import rows_of
from rlm_kernel_mcp.store.carrying.rows import ROW, damaged
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store


def carried_in(
    store: Store, state_dir: Path, limits: SnapshotLimits, session_id: str, frames: Iterable[Frame], why: str
) -> Sent:
    """Write a session here; returns what others have of it. `why`: what became of its kernel, if it had one.

    Raises:
        StoreDamaged: it is not what a node has written. SessionBusy: the disk does not take it.
        OSError: the same of its values.
    """
    rows: list[tuple[str, bytes]] = []

    def values() -> Iterator[tuple[str, bytes]]:
        for key, body in frames:
            if body is not None and key.startswith(ROW):
                rows.append((key, body))
            elif body is not None:
                yield key, body

    try:
        sent = bring_in(SnapshotFile(state_dir, session_id, limits, is_new=True), values())
    except NotAsWritten as error:
        raise damaged(session_id, str(error)) from None
    store.bringing.bring_in(session_id, rows_of(rows, session_id), partial(_changes, why), _of_unended)
    return Sent(sent, store.following.mark(session_id))


def _changes(why: str, record: SessionRecord) -> Mapping[str, Any]:
    """What a session's row says here: nobody has a kernel for it."""
    gone: dict[str, Any] = {"server_pid": os.getpid(), "kernel_pid": 0, "connection_file": ""}
    if record.kernel_pid and record.status != "finalized":
        gone["extra"] = stopped_json(why, None)
    return gone


def _of_unended(event: EventRow) -> Mapping[str, Any]:
    """What the row of a step says that its node did not end."""
    return {"extra": json.dumps(extra_of(event) | {NODE_LOST: True})}
