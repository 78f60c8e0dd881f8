"""The questions that sessions have asked, a row each: the part of the trace that tells of models.

Is: rows with a checksum, and their texts, packed, as long as the session has room for them. Is not: what is in a row
(`session/answering/books.py`), nor what a client reads of it. Above: `reading.py`. Below: `database/database.py`,
`database/rows.py`.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final

from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.memory import Operation
from rlm_kernel_mcp.store.database.rows import Rows, check_of, to_sqlite, values_of
from rlm_kernel_mcp.store.database.schema import atomic

SESSION_BYTES: Final = 64 << 20
"""Of a session's questions and answers, packed; beyond it their sizes and hashes are kept alone."""
PACKING: Final = 1
"""zlib's level: it is done for each answer, and the higher ones take several times as long for a tenth less."""


@dataclass(slots=True)
class SubcallRow:
    """One question. Texts are apart (`Texts`)."""

    session_id: str
    id: int
    ts: str
    step_index: int
    source: str
    batch: int
    number: int
    kind: str = "llm"
    parent: str | None = None
    depth: int = 1
    child_session: str | None = None
    backend: str = ""
    model_asked: str = ""
    model_said: str = ""
    prompt_chars: int = 0
    text_chars: int | None = None
    text_sha256: str | None = None
    has_schema: int = 0
    answer_chars: int | None = None
    fate: str = "answered"
    error_code: str | None = None
    attempts: int = 0
    duplicate_of: int | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = None
    queued_ms: int = 0
    duration_ms: int = 0
    answered_by: str = ""
    """Names the backend, the endpoint and the model that is asked where code names none."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What was asked and answered; None: nothing, or not kept any more."""

    prompt: str | None = None
    text: str | None = None
    answer: str | None = None


@dataclass(slots=True)
class BatchRow:
    """What has become of the questions that were asked together."""

    step_index: int
    source: str
    batch: int
    ts: str
    asked: int = 0
    answered: int = 0
    cached: int = 0
    duplicate: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = None
    duration_ms: int = 0
    """From the first question's beginning to the last one's end."""
    kind: str = "llm"


COLUMNS: Final = tuple(field.name for field in fields(SubcallRow))
_values: Final = attrgetter(*COLUMNS)
_INSERT: Final = (
    f"INSERT OR REPLACE INTO subcalls ({', '.join(COLUMNS)}, text_bytes, row_check, texts) "  # noqa: S608 (ours)
    f"VALUES ({', '.join('?' * (len(COLUMNS) + 3))})"
)
_CHILDREN: Final = "SELECT session_id FROM sessions WHERE parent = ? ORDER BY created_at, rowid"
_HEADS: Final = f"SELECT {', '.join(COLUMNS)}, text_bytes, row_check FROM subcalls WHERE session_id = ?"  # noqa: S608


def packed(texts: Texts) -> bytes:
    """Texts as they are kept. It takes 20 ms a megabyte: call it in a thread where they are long."""
    return zlib.compress(json.dumps([texts.prompt, texts.text, texts.answer]).encode(), PACKING)


class Subcalls:
    """One store's. Its methods wait for the disk, and none raises for a bad one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, int] = {}
        """Bytes that a session's texts take; of those that were written here."""

    def book(self, session_id: str, rows: Iterable[tuple[SubcallRow, bytes]], also: Operation) -> None:
        """Write questions of a session with their packed texts, and whatever else belongs to them, all or nothing."""
        if session_id not in self._used:
            found = self._database.read("SELECT sum(text_bytes) FROM subcalls WHERE session_id = ?", (session_id,))
            self._used[session_id] = sum(used or 0 for (used,) in found)
        values, before = [], self._used[session_id]
        used = before
        for row, texts in rows:
            kept = texts if used + len(texts) <= SESSION_BYTES else None
            size = len(kept or b"")
            used += size
            values.append([*to_sqlite(_values(row)), size, _check(row, size), kept])
        self._used[session_id] = used

        def write(connection: sqlite3.Connection) -> None:
            with atomic(connection):
                connection.executemany(_INSERT, values)
                also(connection)

        self._database.write(write, used - before)

    def note_missed(self, session_id: str, row_ids: Sequence[int]) -> None:
        """The kernel says that answers did not have their schema. Such a row has no checksum any more."""
        statement = "UPDATE subcalls SET error_code = 'schema', row_check = NULL WHERE session_id = ? AND id = ?"

        def note(connection: sqlite3.Connection) -> None:
            with atomic(connection):
                connection.executemany(statement, [(session_id, row_id) for row_id in row_ids])

        self._database.write(note)

    def totals(self, session_id: str) -> tuple[int, int, float]:
        """Questions that were sent, their tokens, and dollars as far as they are known; with those of its children."""
        tree = [session_id]
        for one in tree:
            tree += [child for child in self.children(one) if child not in tree]
        rows = [row for one in tree for row in self.rows(one) if row.kind != "function"]
        sent = sum(row.fate in ("answered", "late") or row.attempts > 0 for row in rows)
        paid = [row for row in rows if row.child_session is None]  # what a child has spent is in its own rows
        return sent, sum(row.tokens_in + row.tokens_out for row in paid), sum(row.usd or 0.0 for row in paid)

    def children(self, session_id: str) -> list[str]:
        """The sessions that were opened for its questions, in that order, as far as they are kept."""
        return [child for (child,) in self._database.read(_CHILDREN, (session_id,))]

    def calls(self, session_id: str) -> int:
        """How many of its rows are calls of functions that were made."""
        query = "SELECT count(*) FROM subcalls WHERE session_id = ? AND kind = 'function' AND attempts > 0"
        return sum(count for (count,) in self._database.read(query, (session_id,)))

    def rows(
        self, session_id: str, from_step: int | None = None, to_step: int | None = None, batch: int | None = None
    ) -> Rows[SubcallRow]:
        """A session's questions in order; of all steps, or of those from and to an index, both included."""
        query, parameters = _HEADS, list[Any]([session_id])
        for condition, bound in (("step_index >= ?", from_step), ("step_index <= ?", to_step), ("batch = ?", batch)):
            if bound is not None:
                query += f" AND {condition}"
                parameters.append(bound)
        found = {row[1]: _row_of(row) for row in self._database.read_apart(query, tuple(parameters))}
        intact = [row for row in found.values() if row is not None]
        return Rows(sorted(intact, key=lambda row: row.id), len(found) - len(intact))

    def texts(self, session_id: str, row_id: int) -> Texts:
        """What one of them asked, and was answered."""
        query = "SELECT texts FROM subcalls WHERE session_id = ? AND id = ?"
        rows = self._database.read_apart(query, (session_id, row_id))
        try:
            return Texts(*json.loads(zlib.decompress(rows[-1][0])))
        except (IndexError, TypeError, ValueError, zlib.error):
            return Texts()

    def batches(self, session_id: str, from_step: int | None = None, to_step: int | None = None) -> list[BatchRow]:
        """The same questions, those that were asked together as one."""
        return batches_of(self.rows(session_id, from_step, to_step))

    def damaged(self) -> int:
        """How many rows of all sessions are not as they were written. Reads all: call it in a thread."""
        rows = self._database.read_apart(f"SELECT {', '.join(COLUMNS)}, text_bytes, row_check FROM subcalls")  # noqa: S608
        return sum(_row_of(row) is None for row in rows)


def batches_of(rows: Iterable[SubcallRow]) -> list[BatchRow]:
    """Questions that were asked together, as one; in the order in which the first of each has ended."""
    found: dict[tuple[int, str, int], BatchRow] = {}
    began: dict[tuple[int, str, int], int] = {}
    for row in rows:
        key = (row.step_index, row.source, row.batch)
        batch = found.setdefault(key, BatchRow(*key, ts=row.ts, kind=row.kind))
        ended_ms = row.id // 1_000_000
        began[key] = min(began.get(key, ended_ms), ended_ms - row.queued_ms - row.duration_ms)
        batch.duration_ms = max(batch.duration_ms, ended_ms - began[key])
        batch.tokens_in, batch.tokens_out = batch.tokens_in + row.tokens_in, batch.tokens_out + row.tokens_out
        if row.usd is not None:
            batch.usd = (batch.usd or 0.0) + row.usd
        if row.fate == "late":  # its question has a row of its own
            continue
        batch.asked += 1
        if row.error_code is not None:
            batch.failed[row.error_code] += 1
        elif row.fate in ("answered", "cached", "duplicate"):
            setattr(batch, row.fate, getattr(batch, row.fate) + 1)
    return list(found.values())


def _check(row: SubcallRow, text_bytes: int) -> int:
    return check_of((*_values(row), text_bytes))


def _row_of(found: tuple[Any, ...]) -> SubcallRow | None:
    """A question from its columns; None if it is damaged."""
    values = values_of(found[: len(COLUMNS)])
    if values is None:
        return None
    row, (text_bytes, row_check) = SubcallRow(*values), found[len(COLUMNS) :]
    if row_check is None:
        return row if all(type(getattr(row, name)) is int for name in _COUNTED) else None
    return row if row_check == _check(row, text_bytes) else None


_COUNTED: Final = tuple(name for name in COLUMNS if SubcallRow.__annotations__[name] == "int")
