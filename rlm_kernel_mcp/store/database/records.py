"""The rows of the store's tables as dataclasses, and how one is written, checked and read.

Is: the translation of rows, with their checksums. Is not: the tables (`schema.py`), nor what is done with the rows
(`store/store.py`). Above: `store/store.py`, `store/reading.py`. Below: `rows.py`, sqlite3.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from operator import attrgetter
from typing import Any, Final

from rlm_kernel_mcp.store.database.rows import check_of, is_as_declared, texts_check, to_sqlite, values_of


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
    """json: how to load the context again, and the names that kernels offer."""
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
    parent: str | None = None
    """The session whose code asked the question that this one is to answer."""
    depth: int = 0
    """How many parents it has, one above the other."""
    question: str | None = None
    """What it is for, in the words of who opened it: raw, and shown to people alone."""
    client: str | None = None
    """What the client that opened it calls itself: never a proof."""


@dataclass(frozen=True, slots=True)
class SessionKey:
    """The columns by which a session is chosen from among many."""

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
    """Until the event is completed, and for good if the server that ran it was killed."""
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


@dataclass(frozen=True, slots=True)
class EventHead:
    """An event without its texts. `text_bytes`: their size in UTF-8."""

    row: EventRow
    text_bytes: int


EVENT_TEXTS: Final = ("code", "error", "result", "stderr", "stdout")
"""Columns that may be large. They come last in the table: reading the others then leaves their pages alone."""

SESSION_COLUMNS: Final = tuple(field.name for field in fields(SessionRecord))
EVENT_COLUMNS: Final = tuple(field.name for field in fields(EventRow))
HEAD_COLUMNS: Final = tuple(name for name in EVENT_COLUMNS if name not in EVENT_TEXTS)
_session_values: Final = attrgetter(*SESSION_COLUMNS)
_event_values: Final = attrgetter(*EVENT_COLUMNS)
_event_texts: Final = attrgetter(*EVENT_TEXTS)
_PLACE_COLUMNS: Final = ("parent", "depth")
"""That rows had not when their checksums were made: those of a session without a parent are made without them."""
_PURPOSE_COLUMNS: Final = ("question", "client")
"""With a checksum of their own: a server of before that has the store open still knows a row by the one it has."""
_child_columns: Final = tuple(name for name in SESSION_COLUMNS if name not in ("final_answer", *_PURPOSE_COLUMNS))
_session_checked: Final = attrgetter(*(name for name in _child_columns if name not in _PLACE_COLUMNS))
_child_checked: Final = attrgetter(*_child_columns)
_event_checked: Final = attrgetter(*HEAD_COLUMNS)
_SESSION_TYPES: Final = {field.name: str(field.type) for field in fields(SessionRecord)}
_EVENT_TYPES: Final = {field.name: str(field.type) for field in fields(EventRow)}
SESSION_CHECKS: Final = ("row_check", "answer_check", "purpose_check")
EVENT_CHECKS: Final = ("text_bytes", "row_check", "text_check")
LAST_ID: Final = (
    "SELECT max(id) FROM events WHERE session_id = ?1 UNION ALL SELECT max(id) FROM subcalls WHERE session_id = ?1 "
    "UNION ALL SELECT max(id) FROM seen WHERE session_id = ?1"
)
"""The largest ids of a session's rows."""

_OF_A_SESSION: Final = (
    "events",
    "contexts",
    "added_contexts",
    "subcalls",
    "answer_pages",
    "displays",
    "seen",
    "context_documents",
    "sessions",
)
"""The tables with rows of one, its own last."""


def insert_session(connection: sqlite3.Connection, record: SessionRecord) -> None:
    """Write a session's row, in place of an earlier one."""
    connection.execute(_INSERT_SESSION, [*to_sqlite(_session_values(record)), *session_checks(record).values()])


def insert_event(connection: sqlite3.Connection, event: EventRow, text_bytes: int, answer: str | None = None) -> None:
    """Write an event's row, in place of an earlier one with its id. `answer`: as `event_checks`."""
    checks = event_checks(event, text_bytes, answer)
    connection.execute(_INSERT_EVENT, [*to_sqlite(_event_values(event)), *checks.values()])


def delete_session(connection: sqlite3.Connection, session_id: str) -> None:
    """Remove every row of a session."""
    for table in _OF_A_SESSION:
        connection.execute(f"DELETE FROM {table} WHERE session_id = ?", (session_id,))  # noqa: S608 (our own names)


def put_context(connection: sqlite3.Connection, session_id: str, data: bytes | None, name: str) -> None:
    """Write the bytes of a context in place of earlier ones; None: none. `name`: empty for the session's first one."""
    table, key = ("added_contexts", {"name": name}) if name else ("contexts", {})
    row = {"session_id": session_id, **key}
    columns, marks = ", ".join(row), ", ".join("?" * len(row))
    connection.execute(f"DELETE FROM {table} WHERE ({columns}) = ({marks})", [*row.values()])  # noqa: S608 (ours)
    insert = f"INSERT INTO {table} ({columns}, data) SELECT {marks}, ? WHERE ?"
    for given in () if data is None else ((data, True), (b"", False)):  # SQLite keeps what it was last given
        connection.execute(insert, [*row.values(), *given])


def update_session(connection: sqlite3.Connection, session_id: str, changes: dict[str, Any]) -> None:
    """Set some columns of a session's row, its checksums among them."""
    _update(connection, "sessions", changes, (*SESSION_COLUMNS, *SESSION_CHECKS), {"session_id": session_id})


def update_event(connection: sqlite3.Connection, session_id: str, row_id: int, changes: dict[str, Any]) -> None:
    """Set some columns of an event's row, its size and checksums among them."""
    key = {"session_id": session_id, "id": row_id}
    _update(connection, "events", changes, (*EVENT_COLUMNS, *EVENT_CHECKS), key)


def changed_session(
    record: SessionRecord | None, fields: dict[str, Any]
) -> tuple[SessionRecord | None, dict[str, Any]]:
    """A session with some fields set again (None without the whole of it), and the columns to set: with checksums."""
    if record is None or not fields.keys() <= set(SESSION_COLUMNS):
        # Without the whole row its checksum cannot be known: then it has none.
        answer = fields.get("final_answer")
        return None, fields | {"row_check": None} | ({} if answer is None else {"answer_check": check_of((answer,))})
    # `dataclasses.replace` takes five times as long.
    changed = SessionRecord(**(dict(zip(SESSION_COLUMNS, _session_values(record), strict=True)) | fields))
    return changed, fields | session_checks(changed)


def changed_event(event: EventRow, changes: dict[str, Any]) -> EventRow:
    """An event with some fields set again."""
    return EventRow(**(dict(zip(EVENT_COLUMNS, _event_values(event), strict=True)) | changes))


def without_texts(event: EventRow) -> EventRow:
    """An event's small columns."""
    return EventRow(**dict(zip(HEAD_COLUMNS, _event_checked(event), strict=True)))


def session_checks(record: SessionRecord) -> dict[str, int | None]:
    """The checksums of a session's row: values of `SESSION_CHECKS`."""
    answer = None if record.final_answer is None else check_of((record.final_answer,))
    checked = (_session_checked if (record.parent, record.depth) == (None, 0) else _child_checked)(record)
    purpose = (record.question, record.client)
    purpose_check = None if purpose == (None, None) else check_of(purpose)
    return {"row_check": check_of(checked), "answer_check": answer, "purpose_check": purpose_check}


def event_checks(event: EventRow, text_bytes: int, answer: str | None = None) -> dict[str, int | None]:
    """The same for an event: values of `EVENT_CHECKS`. `answer`: a text that stands in the session's row instead."""
    texts = _event_texts(replace(event, result=answer) if answer is not None else event)
    return head_checks(event, text_bytes) | {"text_check": texts_check(texts)}


def head_checks(event: EventRow, text_bytes: int) -> dict[str, int | None]:
    """The same for an event's small columns."""
    return {"text_bytes": text_bytes, "row_check": check_of((*_event_checked(event), text_bytes))}


def session_of(row: Sequence[Any], *, whole: bool = True) -> SessionRecord | None:
    """A session from its columns and checksums; None if it is damaged. `whole`: the answer was read too."""
    values = values_of(row[: len(SESSION_COLUMNS)])
    if values is None:
        return None
    record = SessionRecord(*values)
    row_check, answer_check, purpose_check = row[len(SESSION_COLUMNS) :]
    if row_check is None:
        return record if is_as_declared(dict(zip(SESSION_COLUMNS, values, strict=True)), _SESSION_TYPES) else None
    checks = session_checks(record)
    is_right = (row_check, purpose_check) == (checks["row_check"], checks["purpose_check"])
    return record if is_right and (not whole or answer_check == checks["answer_check"]) else None


def head_of(row: Sequence[Any]) -> EventHead | None:
    """An event from `HEAD_COLUMNS` and checksums; None if it is damaged."""
    values = values_of(row[: len(HEAD_COLUMNS)])
    if values is None:
        return None
    columns = dict(zip(HEAD_COLUMNS, values, strict=True))
    event, (text_bytes, row_check) = EventRow(**columns), row[len(HEAD_COLUMNS) :]
    if row_check is None:
        is_right = is_as_declared(columns, _EVENT_TYPES) and type(text_bytes) is int
    else:
        is_right = row_check == head_checks(event, text_bytes)["row_check"]
    return EventHead(event, text_bytes) if is_right else None


def _update(
    connection: sqlite3.Connection, table: str, changes: dict[str, Any], columns: tuple[str, ...], key: dict[str, Any]
) -> None:
    if changes:
        statement = _update_statement(table, tuple(changes), columns, tuple(key))
        connection.execute(statement, to_sqlite((*changes.values(), *key.values())))


@cache
def _update_statement(table: str, changed: tuple[str, ...], columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    if unknown := set(changed) - set(columns):
        raise TypeError(f"{table} have no {', '.join(sorted(unknown))}")
    settings = ", ".join(f"{column} = ?" for column in changed)
    condition = " AND ".join(f"{column} = ?" for column in key)
    return f"UPDATE {table} SET {settings} WHERE {condition}"  # noqa: S608 (known columns)


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 (known columns)


_INSERT_SESSION: Final = _insert("sessions", (*SESSION_COLUMNS, *SESSION_CHECKS))
_INSERT_EVENT: Final = _insert("events", (*EVENT_COLUMNS, *EVENT_CHECKS))
