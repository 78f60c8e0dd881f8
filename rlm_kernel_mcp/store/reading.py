"""Reads from the store: the rows that are intact, and how many are not.

Is: the reading half of `Store`. Is not: the check of a row (`store/database/rows.py`), nor the writing half
(`store.py`). Above: `store.py`, which is this and more. Below: `store/database/database.py`,
`store/database/records.py`.

What may take long is read on a connection of its own: call it through `in_reader`, so that only the caller waits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.store.answers import Answers, Days
from rlm_kernel_mcp.store.carrying.bringing import Bringing
from rlm_kernel_mcp.store.carrying.following import Following
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.records import (
    EVENT_TEXTS,
    HEAD_COLUMNS,
    SESSION_CHECKS,
    SESSION_COLUMNS,
    EventHead,
    EventRow,
    SessionKey,
    SessionRecord,
    head_of,
    session_of,
)
from rlm_kernel_mcp.store.database.rows import Rows, texts_check
from rlm_kernel_mcp.store.displays import DisplayRows
from rlm_kernel_mcp.store.long_answers import LongAnswers, PagedBytes, PagedText
from rlm_kernel_mcp.store.maps.documents import DocumentPages
from rlm_kernel_mcp.store.maps.seen import SeenRows
from rlm_kernel_mcp.store.subcalls import Subcalls
from rlm_kernel_mcp.text.surrogates import decoded
from rlm_kernel_mcp.text.wording import counted

Read = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]

_SIZES: Final = " + ".join(f"coalesce(length(CAST({column} AS BLOB)), 0)" for column in EVENT_TEXTS)
_HEADS: Final = (
    f"SELECT {', '.join(HEAD_COLUMNS)}, CASE WHEN text_check IS NULL THEN {_SIZES} ELSE text_bytes END, row_check "  # noqa: S608 (known columns)
    "FROM events WHERE session_id = ?"
)
_TEXTS: Final = f"SELECT {', '.join(f'CAST({column} AS BLOB)' for column in EVENT_TEXTS)}, text_check FROM events"  # noqa: S608

_MARKS: Final = (
    "SELECT action, source, result_status FROM (SELECT id, action, source, result_status FROM events "
    "WHERE session_id = ?1 UNION ALL SELECT max(id), 'subcalls', source, 'ok' FROM subcalls WHERE session_id = ?1 "
    "GROUP BY step_index, source, batch) ORDER BY id"
)
_STRAYS: Final = "SELECT count(*) FROM events WHERE session_id NOT IN (SELECT session_id FROM sessions)"

T = TypeVar("T")
_readers = ThreadPoolExecutor(4, thread_name_prefix="reader of the store")
"""Threads for readers alone: writers, and other work in threads, do not wait for a reader."""


async def in_reader(read: Callable[[], T]) -> T:
    """The result of a function that reads the store, called in a thread. Raises: what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_readers, read)


class Reading:
    """Reads of one store."""

    def __init__(self, database: Database, days: Days | None = None) -> None:
        self._database = database
        self.answers = Answers(database, days or Days())
        self.subcalls = Subcalls(database)
        self.long_answers = LongAnswers(database)
        self.displays = DisplayRows(database)
        self.seen = SeenRows(database)
        self.documents = DocumentPages(database)
        self.following = Following(database)
        self.bringing = Bringing(database)

    @property
    def unread(self) -> str | None:
        """Why what was read is not what the disk has, for whoever only reads; None where it is."""
        return self._database.unread

    def sessions(self) -> Rows[SessionRecord]:
        """All sessions of all servers, the oldest first."""
        found = self._sessions("")
        return Rows(sorted(found, key=lambda record: (record.created_at, record.session_id)), found.damaged)

    def session_keys(self) -> Rows[SessionKey]:
        """All sessions of all servers, in no order, with only the columns that a choice among them needs."""
        rows = self._database.read_apart("SELECT session_id, last_used_at, status FROM sessions")
        # We write no value here that is not a text; such a row is chosen all the same, and then found to be damaged.
        keys = {row[0]: SessionKey(*(value if type(value) is str else "" for value in row)) for row in rows}
        named = [key for key in keys.values() if key.session_id]
        return Rows(named, len(keys) - len(named))

    def summaries(self, session_ids: Sequence[str]) -> Rows[SessionRecord]:
        """The rows of some sessions in the order given, without their answers."""
        marks = ", ".join("?" * len(session_ids))
        found = self._sessions(f"WHERE session_id IN ({marks})", *session_ids, whole=False)
        places = {session_id: place for place, session_id in enumerate(session_ids)}
        return Rows(sorted(found, key=lambda record: places[record.session_id]), len(session_ids) - len(found))

    def session(self, session_id: str, *, whole: bool = True) -> SessionRecord | None:
        """One session's row. `whole=False` leaves its final answer out (None), which may take long to read.

        Raises:
            SessionNotFound: it is damaged.
        """
        found = self._sessions("WHERE session_id = ?", session_id, whole=whole, read=self._database.read)
        if found.damaged:
            raise damaged_record(session_id)
        return found[0] if found else None

    def final_answer(self, session_id: str) -> str | PagedText:
        """A session's final answer, empty where it has none. Call it in a thread: it may take long to read.

        Raises:
            SessionNotFound: it is damaged.
        """
        found = self._sessions("WHERE session_id = ?", session_id, read=self._database.read_apart)
        if found.damaged:
            raise damaged_record(session_id)
        if not found:
            return ""
        return self.long_answers.of(found[0]) or found[0].final_answer or ""

    def knows(self, session_id: str) -> bool:
        """Whether there is such a session, be its row damaged or not."""
        return bool(self._database.read("SELECT 1 FROM sessions WHERE session_id = ?", (session_id,)))

    def events(
        self, session_id: str, from_step: int | None = None, to_step: int | None = None, *, texts: bool = True
    ) -> Rows[EventRow]:
        """A session's events in order; of all steps, or of those from and to an index, both included.

        `texts=False` leaves code, output and error out (None), and reads only the small part of each row.
        """
        heads = self.heads(session_id, from_step, to_step)
        if not texts:
            return Rows([head.row for head in heads], heads.damaged)
        whole = [event for head in heads if (event := self.with_texts(head)) is not None]
        return Rows(whole, heads.damaged + len(heads) - len(whole))

    def heads(self, session_id: str, from_step: int | None = None, to_step: int | None = None) -> Rows[EventHead]:
        """The same events without their texts, and how large those are."""
        query, parameters = _HEADS, [session_id]
        for condition, bound in ((" AND step_index >= ?", from_step), (" AND step_index <= ?", to_step)):
            if bound is not None:
                query += condition
                parameters.append(bound)  # type: ignore[arg-type]  # SQLite takes both
        rows = self._database.read_apart(query, tuple(parameters))
        place = HEAD_COLUMNS.index("id")
        found = [head_of(row) for row in {row[place]: row for row in rows}.values()]
        heads = [head for head in found if head is not None]
        return Rows(sorted(heads, key=lambda head: head.row.id or 0), len(found) - len(heads))

    def head(self, session_id: str, row_id: int) -> EventHead | None:
        """One of them; None: there is none, or it is damaged."""
        rows = self._database.read_apart(f"{_HEADS} AND id = ?", (session_id, row_id))
        return head_of(rows[-1]) if rows else None

    def marks(self, session_id: str) -> list[tuple[str, ...]]:
        """Action, source and status of each of them in order, and of questions: for a picture of many sessions.

        No checksum is looked at: one letter of such a picture rests on each.
        """
        return [tuple(map(str, row)) for row in self._database.read_apart(_MARKS, (session_id,))]

    def texts(self, head: EventHead) -> Mapping[str, bytes | PagedBytes | None] | None:
        """An event's texts in UTF-8 by column; None if they are damaged.

        The text of a final answer is in the session's row, or in pages of its own, which are checked as they are read.
        """
        texts = self._checked_texts(head)
        if texts is None or head.row.action != "finalize" or texts["result"] is not None:
            return texts
        try:
            record = self.session(head.row.session_id, whole=False)
        except SessionNotFound:
            return None
        pages = None if record is None else self.long_answers.of(record)
        return {**texts, "result": None if pages is None else pages.utf8}

    def _checked_texts(self, head: EventHead) -> dict[str, bytes | None] | None:
        """Those that are rows, by the checksum that the row has now.

        That is read with them: a step's row may have been written anew since its head was read.
        """
        key = (head.row.session_id, head.row.id)
        rows = self._database.read_apart(f"{_TEXTS} WHERE session_id = ? AND id = ?", key)
        if not rows:
            return None
        texts: dict[str, bytes | None] = dict(zip(EVENT_TEXTS, rows[-1][:-1], strict=True))
        text_check = rows[-1][-1]
        if head.row.action == "finalize" and texts["result"] is None:
            answers = self._database.read_apart(
                "SELECT CAST(final_answer AS BLOB) FROM sessions WHERE session_id = ?", key[:1]
            )
            texts["result"] = answers[-1][0] if answers else None
        if text_check is not None:
            return texts if texts_check(texts.values()) == text_check else None
        try:
            for text in texts.values():
                decoded(text or b"")
            json.loads(texts["error"] or b"{}")
        except (ValueError, RecursionError):
            return None
        return texts

    def with_texts(self, head: EventHead) -> EventRow | None:
        """An event with its texts, but for a final answer in pages; None if they are damaged."""
        texts = self._checked_texts(head)
        if texts is None:
            return None
        event = EventRow(**{name: getattr(head.row, name) for name in HEAD_COLUMNS})
        for name, text in texts.items():
            setattr(event, name, None if text is None else decoded(text))
        return event

    def context(self, session_id: str, name: str = "") -> bytes | None:
        """The bytes of a context that was given inline. `name`: the first one has none."""
        if name:
            query = "SELECT data FROM added_contexts WHERE session_id = ? AND name = ?"
            rows = self._database.read(query, (session_id, name))
        else:
            rows = self._database.read("SELECT data FROM contexts WHERE session_id = ?", (session_id,))
        data = rows[-1][0] if rows else None
        return data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data

    def faults(self) -> Iterator[str]:
        """What is damaged in the store, in words. It reads everything, so call it in a thread."""
        self._database.check()
        keys = self.session_keys()
        damaged = keys.damaged
        for key in keys:
            try:
                record = self.session(key.session_id)
            except SessionNotFound:
                damaged, record = damaged + 1, None
            if record and (answer := self.long_answers.of(record)) and not self.long_answers.is_whole(answer):
                yield f"the final answer of session {key.session_id}"
            if lost := self.events(key.session_id).damaged:
                yield f"{counted(lost, 'event')} of session {key.session_id}"
        for rows, noun, of in (
            (self.subcalls, "question", ""),
            (self.displays, "display", " of steps"),
            (self.seen, "row", " of what steps looked at"),
            (self.documents, "page", " of documents"),
        ):
            if lost := rows.damaged():
                yield f"{counted(lost, noun)}{of}"
        (strays,) = self._database.read_apart(_STRAYS)[-1]
        if strays:
            yield f"{counted(strays, 'event')} of no session"
        if damaged:
            yield f"the record of {counted(damaged, 'session')}"

    def _session_of(self, row_id: int) -> str | None:
        """The session of an event."""
        rows = self._database.read("SELECT session_id FROM events WHERE id = ?", (row_id,))
        return rows[-1][0] if rows else None

    def _text_bytes_of(self, session_id: str) -> int:
        """What the texts of a session's events take."""
        rows = self._database.read("SELECT sum(text_bytes) FROM events WHERE session_id = ?", (session_id,))
        return sum(used or 0 for (used,) in rows)

    def _sessions(
        self, condition: str, *parameters: str, whole: bool = True, read: Read | None = None
    ) -> Rows[SessionRecord]:
        columns = ("NULL" if column == "final_answer" and not whole else column for column in SESSION_COLUMNS)
        query = f"SELECT {', '.join(columns)}, {', '.join(SESSION_CHECKS)} FROM sessions {condition}"  # noqa: S608
        read = read or (self._database.read if whole else self._database.read_apart)
        rows: dict[Any, tuple[Any, ...]] = {row[0]: row for row in read(query, parameters)}
        found = [record for row in rows.values() if (record := session_of(row, whole=whole)) is not None]
        return Rows(found, len(rows) - len(found))


def damaged_record(session_id: str) -> SessionNotFound:
    """The error for a session whose record is not what was written."""
    return SessionNotFound(
        f"The record of session {session_id} in the store is damaged, so the session cannot be opened again.",
        "Open a new session with rlm_init_context; rlm_get_trace reads what is left of this one.",
    )
