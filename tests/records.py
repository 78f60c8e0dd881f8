"""What the store of a server in another process knows of its sessions."""

from __future__ import annotations

from pathlib import Path

from rlm_kernel_mcp.session.store import SessionRecord, Store


def record_of(state_dir: Path, session_id: str) -> SessionRecord:
    """A session's row, read beside the server that writes it."""
    store = Store.open(state_dir)
    try:
        record = store.session(session_id)
    finally:
        store.close()
    assert record is not None
    return record
