"""The store's tables and their versions.

Is: the schema, its migrations, and a transaction. Is not: rows (`records.py`), nor a file on disk (`file.py`).
Above: `database.py`, `file.py`, `memory.py`, `damage.py`. Below: sqlite3.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

Migration = tuple[str, ...]

PAGE_BYTES: Final = 4_096
"""Page size of a file that SQLite makes: its default, which nothing here changes."""


TABLES: Final = (
    "sessions",
    "events",
    "contexts",
    "added_contexts",
    "subcalls",
    "answers",
    "subcall_days",
    "answer_pages",
    "displays",
    "seen",
    "context_documents",
)
MIGRATIONS: Final[tuple[Migration, ...]] = (
    (
        """CREATE TABLE sessions (
            session_id TEXT PRIMARY KEY, created_at TEXT NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL,
            limits TEXT NOT NULL, context TEXT NOT NULL, context_ref TEXT NOT NULL, walls TEXT NOT NULL,
            counters TEXT NOT NULL, server_pid INTEGER NOT NULL, kernel_pid INTEGER NOT NULL,
            connection_file TEXT NOT NULL, last_used_at TEXT NOT NULL, stop_reason TEXT, final_answer TEXT,
            finish_reason TEXT, finished_at TEXT, extra TEXT)""",
        """CREATE TABLE events (
            session_id TEXT NOT NULL, id INTEGER NOT NULL, ts TEXT NOT NULL, step_index INTEGER NOT NULL,
            action TEXT NOT NULL, source TEXT NOT NULL, result_status TEXT NOT NULL, summary TEXT NOT NULL,
            duration_ms INTEGER NOT NULL, guardrail_snapshot TEXT NOT NULL, text_bytes INTEGER NOT NULL,
            extra TEXT, code TEXT, error TEXT, result TEXT, stderr TEXT, stdout TEXT, PRIMARY KEY (session_id, id))""",
        "CREATE INDEX events_by_step ON events (session_id, step_index)",
        "CREATE TABLE contexts (session_id TEXT PRIMARY KEY, data BLOB NOT NULL)",
    ),
    (
        "ALTER TABLE sessions ADD COLUMN row_check INTEGER",
        "ALTER TABLE sessions ADD COLUMN answer_check INTEGER",
        "ALTER TABLE events ADD COLUMN row_check INTEGER",
        "ALTER TABLE events ADD COLUMN text_check INTEGER",
    ),
    ("CREATE TABLE added_contexts (session_id TEXT, name TEXT, data BLOB NOT NULL, PRIMARY KEY (session_id, name))",),
    (
        """CREATE TABLE subcalls (
            session_id TEXT NOT NULL, id INTEGER NOT NULL, ts TEXT NOT NULL, step_index INTEGER NOT NULL,
            source TEXT NOT NULL, batch INTEGER NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, parent TEXT,
            depth INTEGER NOT NULL, child_session TEXT, backend TEXT NOT NULL, model_asked TEXT NOT NULL,
            model_said TEXT NOT NULL, prompt_chars INTEGER NOT NULL, text_chars INTEGER, text_sha256 TEXT,
            has_schema INTEGER NOT NULL, answer_chars INTEGER, fate TEXT NOT NULL, error_code TEXT,
            attempts INTEGER NOT NULL, duplicate_of INTEGER, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
            usd REAL, queued_ms INTEGER NOT NULL, duration_ms INTEGER NOT NULL, answered_by TEXT NOT NULL,
            text_bytes INTEGER NOT NULL, row_check INTEGER, texts BLOB, PRIMARY KEY (session_id, id))""",
        """CREATE TABLE answers (
            key TEXT PRIMARY KEY, used_at TEXT NOT NULL, bytes INTEGER NOT NULL, value_check INTEGER NOT NULL,
            value BLOB NOT NULL)""",
        "CREATE INDEX answers_by_use ON answers (used_at, bytes)",
        """CREATE TABLE subcall_days (
            day TEXT NOT NULL, server TEXT NOT NULL, asked INTEGER NOT NULL, PRIMARY KEY (day, server))""",
    ),
    (
        """CREATE TABLE answer_pages (
            session_id TEXT NOT NULL, answer INTEGER NOT NULL, number INTEGER NOT NULL, chars INTEGER NOT NULL,
            bytes INTEGER NOT NULL, page_check INTEGER NOT NULL, data BLOB NOT NULL,
            PRIMARY KEY (session_id, answer, number))""",
    ),
    (
        "ALTER TABLE sessions ADD COLUMN parent TEXT",
        "ALTER TABLE sessions ADD COLUMN depth INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent IS NOT NULL",
    ),
    (
        "ALTER TABLE sessions ADD COLUMN question TEXT",
        "ALTER TABLE sessions ADD COLUMN client TEXT",
        "ALTER TABLE sessions ADD COLUMN purpose_check INTEGER",
    ),
    (
        """CREATE TABLE displays (
            session_id TEXT NOT NULL, event INTEGER NOT NULL, number INTEGER NOT NULL, place INTEGER NOT NULL,
            mime_type TEXT NOT NULL, bytes INTEGER NOT NULL, display_check INTEGER NOT NULL, data BLOB,
            PRIMARY KEY (session_id, event, number))""",
    ),
    (
        """CREATE TABLE seen (
            session_id TEXT NOT NULL, id INTEGER NOT NULL, event INTEGER NOT NULL, kind TEXT NOT NULL,
            bytes INTEGER NOT NULL, seen_check INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (session_id, id))""",
        """CREATE TABLE context_documents (
            session_id TEXT NOT NULL, context TEXT NOT NULL, number INTEGER NOT NULL, start INTEGER NOT NULL,
            chars INTEGER NOT NULL, page_check INTEGER NOT NULL, data BLOB NOT NULL,
            PRIMARY KEY (session_id, context, number))""",
    ),
)
"""Entry n takes a store from version n (`PRAGMA user_version`) to n + 1. A released entry is never changed."""


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring a store up to the newest version, all steps or none. Several processes may try at once.

    Raises:
        sqlite3.Error: a step failed; the store is as it was.
    """
    with transaction(connection):
        for migration in migrations[version_of(connection) :]:
            for statement in migration:
                connection.execute(statement)
        if version_of(connection) < len(migrations):
            connection.execute(f"PRAGMA user_version = {len(migrations)}")


def version_of(connection: sqlite3.Connection) -> int:
    """The store's schema version; 0 for an empty one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


@contextmanager
def atomic(connection: sqlite3.Connection) -> Iterator[None]:
    """The same within a transaction that has begun, which decides for all."""
    if connection.in_transaction:
        yield
        return
    with transaction(connection):
        yield


def for_rows(statement: str, rows: Sequence[tuple[object, ...]]) -> Callable[[sqlite3.Connection], None]:
    """What runs a statement for each of these rows, or for none."""

    def write(connection: sqlite3.Connection) -> None:
        with atomic(connection):
            connection.executemany(statement, rows)

    return write


def nothing(connection: sqlite3.Connection) -> None:
    """Write nothing."""


def together(*operations: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], None]:
    """What does all of them, one after the other."""

    def write(connection: sqlite3.Connection) -> None:
        for operation in operations:
            operation(connection)

    return write


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements of the block, or none. The write lock is taken at once, so that it cannot fail half-way."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
