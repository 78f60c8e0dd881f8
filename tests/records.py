"""What the store of a server in another process knows of its sessions, and damage to it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from rlm_kernel_mcp.store.store import SessionRecord, Store
from tests.mcp.line_client import LineClient


def record_of(state_dir: Path, session_id: str) -> SessionRecord:
    """A session's row, read beside the server that writes it."""
    store = Store.open(state_dir)
    try:
        record = store.session(session_id)
    finally:
        store.close()
    assert record is not None
    return record


def recorded_walls(client: LineClient, session_id: str) -> list[dict[str, Any]]:
    """The rows of a session's walls, with their prose, of which a client gets the names."""
    rows: list[dict[str, Any]] = json.loads(record_of(Path(client.env["RLM_STATE_DIR"]), session_id).walls)
    return rows


def changed(state_dir: Path, statement: str, *parameters: Any) -> None:
    """Have some rows be other than they were written, by a statement that finds at least one."""
    with closing(sqlite3.connect(state_dir / "sessions.db")) as connection, connection:
        assert connection.execute(statement, parameters).rowcount > 0
