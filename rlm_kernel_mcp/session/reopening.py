"""A session of an earlier or another server, opened again from its record.

Is: record to `Session`, without a kernel: the first use restores one, with the loss report. Is not: the lock
(`registry.py` takes it).
Above: `registry.py`. Below: `store.py`'s rows, `opening.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.errors import ContextNotFound
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.guardrails import Account
from rlm_kernel_mcp.session.journal import Journal
from rlm_kernel_mcp.session.opening import ContextSource
from rlm_kernel_mcp.session.recovery import Recovery
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.shapes import ContextReport, Counters, DocumentInfo, Limits
from rlm_kernel_mcp.session.snapshots import Snapshots
from rlm_kernel_mcp.session.store import SessionRecord, Store
from rlm_kernel_mcp.settings import Settings

SNAPSHOT_FOLDER = "snapshots"


def snapshot_path(state_dir: Path, session_id: str) -> Path:
    """Where a session's snapshots lie."""
    return state_dir / SNAPSHOT_FOLDER / f"{session_id}.bin"


def reopen(record: SessionRecord, settings: Settings, policy: Policy, pool: KernelPool, store: Store) -> Session:
    """The session of a record, as its last server left it."""
    limits = Limits(**json.loads(record.limits))
    counters: dict[str, int] = json.loads(record.counters or "{}")
    account = Account(limits, Counters(**counters), record.stop_reason)  # type: ignore[arg-type]  # we wrote it
    journal = Journal(store, record.session_id)
    recovery = Recovery(
        pool,
        policy,
        lambda: open_context(record, settings, store),
        Snapshots(snapshot_path(settings.state_dir, record.session_id), policy),
    )
    session = Session(record.session_id, account, _context(json.loads(record.context)), recovery, journal)
    session.created_at, session.last_used_at = record.created_at, record.last_used_at or record.created_at
    session.life.gone_reason = "the server that had the session's kernel has ended"
    session.life.last_step = _last_step(journal)
    if record.status == "finalized":
        session.final, session.finished_at = record.final_answer or "", record.finished_at
        given = json.loads(record.extra or "{}").get("final_given", ["", ""])
        session.final_given = (str(given[0]), str(given[1]))
    return session


def open_context(record: SessionRecord, settings: Settings, store: Store) -> Payload:
    """A session's context once more: by reference if it is what it was, else from the stored copy.

    Raises:
        ContextNotFound, ContextDenied, ContextTooLarge.
    """
    reference: dict[str, Any] = json.loads(record.context_ref)
    if reference.get("paths") is not None:
        source = ContextSource(None, tuple(reference["paths"]), reference.get("working_dir"))
        return source.open_again(settings, reference["sha256"])
    data = store.context(record.session_id)
    if data is None:
        raise ContextNotFound("the context was given inline and its stored copy is gone")
    return ContextSource(data.decode("utf-8", "surrogatepass")).open(settings)


def _last_step(journal: Journal) -> int:
    """The last step that ended with its kernel alive: what a snapshot can be of."""
    done = [
        row.step_index
        for row in journal.events(None, None, texts=False)
        if row.action == "run_repl"
        and row.source == "mcp"
        and row.result_status in ("ok", "error", "timeout", "interrupted")
    ]
    return max(done, default=0)


def _context(raw: dict[str, Any]) -> ContextReport:
    documents = tuple(DocumentInfo(**row) for row in raw.pop("documents", ()))
    skipped = tuple(raw.pop("skipped", ()))
    return ContextReport(**raw, documents=documents, skipped=skipped)
