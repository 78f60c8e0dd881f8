"""The store's tables: their rows as dataclasses, their versions, and how a text is held in them.

Is: the schema and its migrations, and the translation of rows. Is not: a file on disk (`store_file.py`), nor
what is done with it (`store.py`). Above: `store.py`, `store_database.py`. Below: sqlite3.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any, Final

Migration = tuple[str, ...]


@dataclass(slots=True)
class SessionRecord:
    """One session. Fields named json hold JSON text; times are UTC, ISO 8601."""

    session_id: str
    created_at: str
    kind: str
    status: str
    limits: str = "{}"
    """json: the guardrails."""
    context: str = "{}"
    """json: the context's report."""
    context_ref: str = "{}"
    """json: how to load the context again."""
    walls: str = "[]"
    """json."""
    counters: str = "{}"
    """json."""
    server_pid: int = 0
    kernel_pid: int = 0
    connection_file: str = ""
    last_used_at: str = ""
    """The time of creation, where it is not given."""
    stop_reason: str | None = None
    final_answer: str | None = None
    finish_reason: str | None = None
    finished_at: str | None = None
    extra: str | None = None
    """json: whatever else the session wants back."""


@dataclass(frozen=True, slots=True)
class SessionKey:
    """What a session is chosen by from among many."""

    session_id: str
    last_used_at: str
    status: str


@dataclass(slots=True)
class EventRow:
    """One event of a session. `id` is the store's, and orders the rows of a session."""

    session_id: str
    ts: str
    step_index: int
    action: str
    source: str = "mcp"
    result_status: str = "unknown"
    """Until the event is completed: also after a kill of the server that ran it."""
    summary: str = ""
    duration_ms: int = 0
    guardrail_snapshot: str = "{}"
    """json."""
    extra: str | None = None
    """json: whatever else the session wants back."""
    code: str | None = None
    error: str | None = None
    """json: an object of texts."""
    result: str | None = None
    stderr: str | None = None
    stdout: str | None = None
    id: int | None = None


EVENT_TEXTS: Final = ("code", "error", "result", "stderr", "stdout")
"""Columns that may be large. They come last in the table: reading the others then leaves their pages alone."""

SESSION_COLUMNS: Final = tuple(field.name for field in fields(SessionRecord))
EVENT_COLUMNS: Final = tuple(field.name for field in fields(EventRow))
_session_values: Final = attrgetter(*SESSION_COLUMNS)
_event_values: Final = attrgetter(*EVENT_COLUMNS)
TABLES: Final = ("sessions", "events", "contexts")

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
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements of the block, or none. The write lock is taken at once, so that it cannot fail half-way."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def insert_session(connection: sqlite3.Connection, record: SessionRecord) -> None:
    """Write a session's row, in place of an earlier one."""
    connection.execute(_INSERT_SESSION, held(_session_values(record)))


def insert_event(connection: sqlite3.Connection, event: EventRow, text_bytes: int) -> None:
    """Write an event's row, in place of an earlier one with its id."""
    connection.execute(_INSERT_EVENT, (*held(_event_values(event)), text_bytes))


def update_session(connection: sqlite3.Connection, session_id: str, changes: dict[str, Any]) -> None:
    """Set some columns of a session's row."""
    _update(connection, "sessions", changes, SESSION_COLUMNS, {"session_id": session_id})


def update_event(connection: sqlite3.Connection, session_id: str, row_id: int, changes: dict[str, Any]) -> None:
    """Set some columns of an event's row, `text_bytes` among them."""
    key = {"session_id": session_id, "id": row_id}
    _update(connection, "events", changes, (*EVENT_COLUMNS, "text_bytes"), key)


def held(values: Iterable[Any]) -> list[Any]:
    """Values as SQLite can hold them: a text with lone surrogates, which it refuses, becomes bytes."""
    return [_held_text(value) if isinstance(value, str) else value for value in values]


def given_back(value: Any) -> Any:
    """A value as it was before `held`."""
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def _update(
    connection: sqlite3.Connection, table: str, changes: dict[str, Any], columns: tuple[str, ...], key: dict[str, Any]
) -> None:
    if changes:
        statement = _update_statement(table, tuple(changes), columns, tuple(key))
        connection.execute(statement, held((*changes.values(), *key.values())))


@cache
def _update_statement(table: str, changed: tuple[str, ...], columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    if unknown := set(changed) - set(columns):
        raise TypeError(f"{table} have no {', '.join(sorted(unknown))}")
    settings = ", ".join(f"{column} = ?" for column in changed)
    condition = " AND ".join(f"{column} = ?" for column in key)
    return f"UPDATE {table} SET {settings} WHERE {condition}"  # noqa: S608 (known columns)


def _held_text(text: str) -> str | bytes:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 (known columns)


_INSERT_SESSION: Final = _insert("sessions", SESSION_COLUMNS)
_INSERT_EVENT: Final = _insert("events", (*EVENT_COLUMNS, "text_bytes"))
