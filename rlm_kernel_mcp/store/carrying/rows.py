"""A row of the store as bytes, and back.

Is: the form: a head of JSON with the row's columns by name, and behind it what SQLite has as bytes; and what is refused
as no such form. Is not: SQLite, nor what a row means. Above: `following.py`, `bringing.py`. Below: `errors.py`.

Columns have names here since nodes of a cluster may be of different versions: a column that the reader does not know
is refused, and one that the writer did not know has its default.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.errors import StoreDamaged

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "contexts": (),
    "added_contexts": ("name",),
    "context_documents": ("context", "number"),
    "subcalls": ("id",),
    "events": ("id",),
    "answer_pages": ("answer", "number"),
    "displays": ("event", "number"),
    "seen": ("id",),
    "sessions": (),
}
"""The tables with rows of a session, and what beside its id tells one from another; the session's own row last."""
ROW: Final = "row:"
HEAD_BYTES: Final = 4
INTEGER_MAX: Final = 1 << 63

Value = str | bytes | int | float | None


@dataclass(frozen=True, slots=True)
class Key:
    """Which row of a session."""

    table: str
    of_row: tuple[Value, ...]


def key_of(key: Key) -> str:
    """A row's key as a text: at most some hundred characters, since a context's name is short."""
    return ROW + ":".join([key.table, *map(str, key.of_row)])


def body_of(table: str, row: dict[str, Value]) -> bytes:
    """A row as bytes."""
    raw: list[bytes] = []
    columns: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, bytes):
            raw.append(value)
            columns[name] = [len(value)]
        else:
            columns[name] = value
    head = json.dumps({"table": table, "row": columns}).encode()
    return b"".join([len(head).to_bytes(HEAD_BYTES, "big"), head, *raw])


def row_of(key: str, body: bytes, session_id: str) -> tuple[str, dict[str, Value]]:
    """Table and columns of a row. Raises: StoreDamaged: it is none of this session's, or not the one of its key."""
    try:
        size = int.from_bytes(body[:HEAD_BYTES], "big")
        head = json.loads(body[HEAD_BYTES : HEAD_BYTES + size])
        table, columns = head["table"], head["row"]
        row = _values(columns, body, HEAD_BYTES + size)
        of_row = tuple(row[name] for name in KEYS[table])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(session_id, f"{key[:100]!r} is no row: {type(error).__name__}") from None
    if row.get("session_id") != session_id or key_of(Key(table, of_row)) != key:
        raise damaged(session_id, f"{key[:100]!r} has another row")
    return table, row


def damaged(session_id: str, why: str) -> StoreDamaged:
    """What is said of a session whose bytes are not what a node of ours has written."""
    return StoreDamaged(
        f"What the shared store has of session {session_id} cannot be taken over: {why}.",
        "Open a new session with rlm_init_context, and tell the user: the store, or a node of another version, is at "
        "fault. Nothing of it was written here.",
    )


def _values(columns: dict[str, Any], body: bytes, start: int) -> dict[str, Value]:
    row: dict[str, Value] = {}
    for name, value in columns.items():
        if isinstance(value, list):
            (length,) = value
            end = start + length
            if type(length) is not int or length < 0 or end > len(body):
                raise ValueError("fewer bytes than it says")
            row[name], start = body[start:end], end
        elif value is None or type(value) in (str, float) or (type(value) is int and abs(value) < INTEGER_MAX):
            row[name] = value
        else:
            raise ValueError("no value of SQLite's")
    if start != len(body):
        raise ValueError("more bytes than it says")
    return row
