"""Keeps what is known of questions in the store: the answers, a row for each question, and the day's count.

Is: `Books` and `Day` over a store, which is written to as its writer does it: after everything that the session gave
before, and nobody waits. Is not: when (`broker.py`, `sending.py`), nor the tables (`store/answers.py`,
`store/subcalls.py`). Above: `choice.py`.
Below: `keeping.py`, `store/`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Final

from rlm_kernel_mcp.session.answering.backends.protocol import Facts
from rlm_kernel_mcp.session.answering.keeping import Entry, Kept
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts, packed
from rlm_kernel_mcp.store.writer import Writer

AT_ONCE_KEYS: Final = 200
"""More keys are looked up in a thread: this takes 10 us each."""
PACKING_WEIGHT: Final = 4
"""Packing a text takes about as long as writing so many of it."""
UNSENT_MAX: Final = 20_000
"""Rows of a session's questions that were not sent: refused, cached and equal ones, of which code can ask any number.
What is sent is bounded by its limits."""
DAY_ROWS: Final = "questions of the day"
"""Stands for a session in the writer's order."""


def _now() -> datetime:
    return datetime.now(UTC)


class StoreBooks:
    """One registry's. Belongs to its event loop."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        facts: Facts,
        *,
        is_cached: bool,
        day_max: int,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._store = store
        self._writer = writer
        self._facts = facts
        self._is_cached = is_cached
        self._day_max = day_max
        self._now = now
        self._unwritten: dict[str, Kept] = {}
        """Answers that are on their way into the store."""
        self._unsent: Counter[str] = Counter()
        """By session, rows of this server's."""
        self._waiting: dict[str, tuple[list[tuple[int, Entry, str]], dict[str, Kept]]] = {}
        """By session, what this turn of the loop has brought."""

    def kept_at_once(self, keys: Sequence[str]) -> Mapping[str, Kept] | None:
        """The answers that are kept under some keys; None: that would have to be waited for."""
        if not self._is_cached:
            return {}
        if len(keys) > AT_ONCE_KEYS:
            return None
        found: dict[str, Kept] = {}
        return found if self._store.at_once(lambda: found.update(self._read(keys))) else None

    async def kept(self, keys: Sequence[str]) -> Mapping[str, Kept]:
        """The same, waited for."""
        return await in_reader(lambda: self._read(keys)) if self._is_cached else {}

    def keep(self, session_id: str, key: str, answer: Kept) -> None:
        """Keep an answer, in place of an earlier one."""
        if self._is_cached:
            self._unwritten[key] = answer
            self._of(session_id)[1][key] = answer

    def write(self, session_id: str, entry: Entry) -> int:
        """Book a question; returns the id of its row, 0 where the session has too many that were not sent."""
        if not entry.spent.attempts:
            self._unsent[session_id] += 1
            if self._unsent[session_id] > UNSENT_MAX:
                return 0
        row_id = self._store.mint()
        self._of(session_id)[0].append((row_id, entry, self._now_iso()))
        return row_id

    def note_missed(self, session_id: str, row_id: int) -> None:
        """An answer that is booked did not have its schema."""
        if not row_id:
            return
        self._flush(session_id)
        self._writer.do(session_id, partial(self._store.subcalls.note_missed, session_id, row_id))

    def totals(self, session_id: str) -> tuple[int, int, float]:
        """Questions of a session that were sent, their tokens, and dollars as far as they are known."""
        return self._store.subcalls.totals(session_id)

    def answerers(self, session_id: str) -> set[str]:
        """Who has answered a session: identities."""
        return {row.answered_by for row in self._store.subcalls.rows(session_id) if row.attempts}

    async def grant(self, wanted: int) -> int:
        """Take so many of the day's questions, or what is left of them."""
        day = self._now().date().isoformat()
        return await self._writer.made(DAY_ROWS, lambda: self._store.answers.grant(wanted, self._day_max, day))

    def give_back(self, unused: int) -> None:
        """These were not asked."""
        day = self._now().date().isoformat()
        self._writer.do(DAY_ROWS, partial(self._store.answers.give_back, unused, day))

    def _now_iso(self) -> str:
        return self._now().isoformat(timespec="milliseconds")

    def _of(self, session_id: str) -> tuple[list[tuple[int, Entry, str]], dict[str, Kept]]:
        if session_id not in self._waiting:
            self._waiting[session_id] = ([], {})
            asyncio.get_running_loop().call_soon(self._flush, session_id)
        return self._waiting[session_id]

    def _flush(self, session_id: str) -> None:
        """All that one turn of the loop has brought is one transaction."""
        entries, answers = self._waiting.pop(session_id, ([], {}))
        if entries or answers:
            chars = sum(_chars(entry) for _, entry, _ in entries) * PACKING_WEIGHT
            self._writer.do(session_id, partial(self._write, session_id, entries, answers), chars)

    def _write(self, session_id: str, entries: list[tuple[int, Entry, str]], answers: dict[str, Kept]) -> None:
        rows = [(_row(session_id, self._facts, *one), packed(_texts(one[1]))) for one in entries]
        values = [(key, json.dumps(asdict(answer)).encode()) for key, answer in answers.items()]
        self._store.subcalls.book(session_id, rows, self._store.answers.keeping(values, self._now_iso()))
        for key, answer in answers.items():
            if self._unwritten.get(key) is answer:
                del self._unwritten[key]

    def _read(self, keys: Sequence[str]) -> dict[str, Kept]:
        values = self._store.answers.kept(keys, self._now_iso())
        found = {key: kept for key, value in values.items() if (kept := _kept(value)) is not None}
        return found | {key: kept for key in keys if (kept := self._unwritten.get(key)) is not None}


def _kept(value: bytes) -> Kept | None:
    """An answer from its bytes, which have the right checksum, but may be another version's."""
    try:
        return Kept(**json.loads(value))
    except (ValueError, TypeError):
        return None


def _chars(entry: Entry) -> int:
    texts = _texts(entry)
    return sum(len(text or "") for text in (texts.prompt, texts.text, texts.answer))


def _texts(entry: Entry) -> Texts:
    if entry.fate == "duplicate" or (entry.fate == "failed" and not entry.spent.attempts):
        return Texts()  # the question that it is one of has them; or nobody was asked
    return Texts(entry.question.prompt, entry.question.text, entry.answer)


def _row(session_id: str, facts: Facts, row_id: int, entry: Entry, ts: str) -> SubcallRow:
    question, spent = entry.question, entry.spent
    data = None if question.text is None else question.text.encode("utf-8", "surrogatepass")
    return SubcallRow(
        session_id=session_id,
        id=row_id,
        ts=ts,
        step_index=question.step_index,
        source=question.source,
        batch=question.batch,
        number=question.number,
        backend=facts.name,
        answered_by=facts.identity,
        model_asked=entry.model,
        model_said=entry.model_said,
        prompt_chars=len(question.prompt),
        text_chars=None if question.text is None else len(question.text),
        text_sha256=None if data is None else hashlib.sha256(data).hexdigest(),
        has_schema=int(question.schema is not None),
        answer_chars=None if entry.answer is None else len(entry.answer),
        fate=entry.fate,
        error_code=entry.error_code,
        attempts=spent.attempts,
        duplicate_of=entry.duplicate_of,
        tokens_in=spent.tokens_in,
        tokens_out=spent.tokens_out,
        usd=spent.usd,
        queued_ms=spent.queued_ms,
        duration_ms=spent.duration_ms,
    )
