"""Keeps what is known of questions in the store: the answers, a row for each question, and the day's count.

Is: `Books` and `Day` over a store, which is written to as its writer does it: after the questions that the session
gave before, and nobody waits but who reads the trace. Is not: when (`broker.py`, `sending.py`), nor the tables
(`store/answers.py`, `store/subcalls.py`). Above: `session/boards/choice.py`. Below: `keeping.py`, `store/`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

from rlm_kernel_mcp.session.answering.backends.protocol import Facts
from rlm_kernel_mcp.session.answering.keeping import Entry, Kept
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts, packed
from rlm_kernel_mcp.store.writer import Writer

AT_ONCE_KEYS: Final = 64
"""More keys are looked up in a thread: this takes 10 us each, and an answer may have 100,000 tokens."""
PACKING_WEIGHT: Final = 4
"""Packing a text takes about as long as writing so many of it."""
GROUP_S: Final = 0.01
GROUP_ROWS: Final = 30
"""Rows of a session are written together: so many, or what came within so long. A transaction takes as long as ten."""
PATIENT_S: Final = 0.25
PATIENT_CHARS: Final = 1_000_000
"""How long rows of questions that were not sent may wait, and of how many characters: they come by the thousand where
something ends, and what that is waits for the disk too."""
ROW_CHARS: Final = 4_000
"""A row takes about as long as writing so many characters, however few it has."""
UNSENT_MAX: Final = 20_000
"""Rows of a session's questions that were not sent: refused, cached and equal ones, of which code can ask any number.
What is sent is bounded by its limits."""
_NO_TEXTS: Final = packed(Texts())
DAY_ROWS: Final = "questions of the day"
USES: Final = "answers that are used"
"""They stand for a session in the writer's order."""


def order_of(session_id: str) -> str:
    """Stands for a session in the writer's order of questions: no end of a step waits for the rows of thousands."""
    return f"questions of {session_id}"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class _Group:
    """What is written together, of one session."""

    rows: list[tuple[int, Entry, str]] = field(default_factory=list)
    answers: dict[str, Kept] = field(default_factory=dict)
    held_chars: int = 0
    """Of the questions, whose texts are held until then."""
    is_urgent: bool = False
    timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """It is written now, or another timer is set."""
        if self.timer is not None:
            self.timer.cancel()


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
        self._waiting: dict[str, _Group] = {}
        """By session, what is to be written next."""
        self.told: Callable[[str, Entry, Facts], None] = lambda session_id, entry, facts: None
        """Told of each question that is booked."""

    def kept_at_once(self, keys: Sequence[str]) -> Mapping[str, Kept] | None:
        """The answers that are kept under some keys; None: that would have to be waited for."""
        if not self._is_cached:
            return {}
        if len(keys) > AT_ONCE_KEYS:
            return None
        now_iso = self._now_iso()
        found = self._store.answers.kept_at_once(keys, now_iso)
        if found is None:
            return None
        values, stale = found
        if stale:
            self._writer.do(USES, partial(self._store.answers.note_used, stale, now_iso))
        return self._answers_of(keys, values)

    async def kept(self, keys: Sequence[str]) -> Mapping[str, Kept]:
        """The same, waited for."""
        return await in_reader(lambda: self._read(keys)) if self._is_cached else {}

    def keep(self, session_id: str, key: str, answer: Kept) -> None:
        """Keep an answer, in place of an earlier one."""
        if self._is_cached:
            self._unwritten[key] = answer
            self._of(session_id, soon=True).answers[key] = answer

    def write(self, session_id: str, entry: Entry) -> int:
        """Book a question; returns the id of its row, 0 where the session has too many that were not sent."""
        if not entry.spent.attempts:
            self._unsent[session_id] += 1
            if self._unsent[session_id] > UNSENT_MAX:
                return 0
        row_id = self._store.mint()
        self.told(session_id, entry, self._facts)
        # Calls of functions come by the thousand too, and nobody has paid for them.
        group = self._of(session_id, soon=entry.spent.attempts > 0 and entry.question.kind != "function")
        group.rows.append((row_id, entry, self._now_iso()))
        group.held_chars += len(entry.question.prompt) + len(entry.question.text or "")
        if group.held_chars > PATIENT_CHARS or (group.is_urgent and len(group.rows) >= GROUP_ROWS):
            self._flush(session_id)
        return row_id

    def note_missed(self, session_id: str, row_ids: Sequence[int]) -> None:
        """Answers that are booked did not have their schema."""
        if booked := [row_id for row_id in row_ids if row_id]:
            self._flush(session_id)
            note = partial(self._store.subcalls.note_missed, session_id, booked)
            self._writer.do(order_of(session_id), note, len(booked) * ROW_CHARS)

    async def settled(self, session_id: str) -> None:
        """Wait until all that is known of a session's questions is in the store."""
        self._flush(session_id)
        await self._writer.settled(order_of(session_id))

    def flush(self) -> None:
        """Have written what is known of all sessions' questions."""
        for session_id in list(self._waiting):
            self._flush(session_id)

    def totals(self, session_id: str) -> tuple[int, int, float]:
        """Questions of a session that were sent, their tokens, and dollars as far as they are known."""
        return self._store.subcalls.totals(session_id)

    def answerers(self, session_id: str) -> set[str]:
        """Who has answered a session: identities."""
        return {
            row.answered_by for row in self._store.subcalls.rows(session_id) if row.attempts and row.kind != "function"
        }

    async def grant(self, wanted: int) -> int:
        """Take so many of the day's questions, or what is left of them."""
        day = self._now().date().isoformat()
        return await self._writer.made(DAY_ROWS, lambda: self._store.answers.grant(wanted, self._day_max, day))

    def give_back(self, unused: int) -> None:
        """These were not asked."""
        day = self._now().date().isoformat()
        self._writer.do(DAY_ROWS, partial(self._store.answers.give_back, unused, day))

    def _now_iso(self) -> str:
        return (
            self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )  # as the events of a session have it

    def _of(self, session_id: str, *, soon: bool) -> _Group:
        group = self._waiting.get(session_id)
        if group is None:
            group = self._waiting[session_id] = _Group()
        if group.timer is None or (soon and not group.is_urgent):
            group.cancel()
            group.is_urgent = soon
            group.timer = asyncio.get_running_loop().call_later(GROUP_S if soon else PATIENT_S, self._flush, session_id)
        return group

    def _flush(self, session_id: str) -> None:
        """All that has come is one transaction."""
        group = self._waiting.pop(session_id, None)
        if group is not None:
            group.cancel()
            rows, answers = group.rows, group.answers
            chars = sum(ROW_CHARS + _chars(entry) * PACKING_WEIGHT for _, entry, _ in rows)
            self._writer.do(order_of(session_id), partial(self._write, session_id, rows, answers), chars)

    def _write(self, session_id: str, entries: list[tuple[int, Entry, str]], answers: dict[str, Kept]) -> None:
        rows = ((_row(session_id, self._facts, *one), _packed(one[1])) for one in entries)
        values = [(key, _value(answer)) for key, answer in answers.items()]
        self._store.subcalls.book(session_id, rows, self._store.answers.keeping(values, self._now_iso()))
        for key, answer in answers.items():
            if self._unwritten.get(key) is answer:
                del self._unwritten[key]

    def _read(self, keys: Sequence[str]) -> dict[str, Kept]:
        return self._answers_of(keys, self._store.answers.kept(keys, self._now_iso()))

    def _answers_of(self, keys: Sequence[str], values: Mapping[str, bytes]) -> dict[str, Kept]:
        found = {key: kept for key, value in values.items() if (kept := _kept(value)) is not None}
        return found | {key: kept for key in keys if (kept := self._unwritten.get(key)) is not None}


def _value(kept: Kept) -> bytes:
    """An answer as its bytes."""
    return json.dumps({"text": kept.text, "model_said": kept.model_said}).encode()


def _kept(value: bytes) -> Kept | None:
    """An answer from its bytes, which have the right checksum, but may be another version's."""
    try:
        return Kept(**json.loads(value))
    except (ValueError, TypeError):
        return None


def _chars(entry: Entry) -> int:
    texts = (entry.question.prompt, entry.question.text, entry.answer)
    return sum(len(text or "") for text in texts) if _has_texts(entry) else 0


def _packed(entry: Entry) -> bytes:
    question = entry.question
    return packed(Texts(question.prompt, question.text, entry.answer)) if _has_texts(entry) else _NO_TEXTS


def _has_texts(entry: Entry) -> bool:
    """Whether its texts are kept: of a duplicate the question that it is one of has them; or nobody was asked."""
    return entry.fate != "duplicate" and (entry.fate != "failed" or entry.spent.attempts > 0)


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
        kind=question.kind,
        parent=question.parent,
        depth=question.depth,
        child_session=entry.said.child,
        backend=facts.name,
        answered_by=entry.said.by or facts.identity,
        model_asked=entry.model,
        model_said=entry.said.model,
        prompt_chars=len(question.prompt),
        text_chars=question.text_chars,
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
