"""The database in memory that takes over when the disk fails.

Is: its size, what it takes over from a disk that can still be read, and what it gives back. Is not: when
(`database.py`). Above: that. Below: `schema.py`, `rows.py`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Final

from rlm_kernel_mcp.store.database.damage import FAILURES
from rlm_kernel_mcp.store.database.rows import DamagedText, text_of
from rlm_kernel_mcp.store.database.schema import PAGE_BYTES, TABLES, migrate

Operation = Callable[[sqlite3.Connection], None]

MEMORY_BYTES: Final = 128 << 20
"""Bytes that it may hold; beyond them, what is least needed goes first."""

# When the memory is full: what goes, in this order, until the write fits.
_RELIEFS: Final = (
    "DELETE FROM displays",
    "DELETE FROM seen",
    "DELETE FROM context_documents",
    """UPDATE events SET stdout = '[not kept: the session store is in memory, which is full]', stderr = NULL,
    result = NULL, row_check = NULL, text_check = NULL WHERE result_status <> 'unknown'""",
    "DELETE FROM answers",
    "UPDATE subcalls SET texts = NULL, text_bytes = 0, row_check = NULL",
    "DELETE FROM contexts",
    "DELETE FROM added_contexts",
)

log = logging.getLogger(__name__)


def open_memory() -> sqlite3.Connection:
    """An empty one, with its tables."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    memory.text_factory = text_of
    # SQLite then refuses what is too much (SQLITE_FULL), and the statement is rolled back.
    memory.execute(f"PRAGMA max_page_count = {MEMORY_BYTES // PAGE_BYTES}")
    migrate(memory)
    return memory


def write_memory(memory: sqlite3.Connection, operation: Operation) -> bool:
    """Do `operation`; whether there was room for it."""
    for relief in ("SELECT 1", *_RELIEFS):
        try:
            memory.execute(relief)
            operation(memory)
            return True
        except sqlite3.OperationalError:  # still full: the next relief frees more
            continue
    log.warning("the session store is in memory, which is full: a write of now is not kept")
    return False


def salvage(disk: sqlite3.Connection, memory: sqlite3.Connection) -> None:
    """Take over what can still be read of the live sessions, up to the first broken page of each."""
    for live in memory.execute("SELECT session_id FROM sessions").fetchall():
        for table in ("events", "contexts", "added_contexts", "subcalls"):
            try:
                for row in disk.execute(f"SELECT * FROM {table} WHERE session_id = ?", live):  # noqa: S608 (ours)
                    if any(isinstance(value, DamagedText) for value in row):
                        continue
                    marks = ", ".join("?" * len(row))
                    memory.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
            except FAILURES:
                log.warning("some %s of session %s cannot be read in the old store", table, live[0])


def move_all(memory: sqlite3.Connection, disk: sqlite3.Connection) -> None:
    """Write all of it into a database on disk. Raises: sqlite3.Error."""
    for table in TABLES:
        rows = memory.execute(f"SELECT * FROM {table}")  # noqa: S608 (our own names)
        marks = ", ".join("?" * len(rows.description))
        disk.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608
