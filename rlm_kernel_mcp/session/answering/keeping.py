"""What is kept of questions and answers, as the broker sees it: the cache, and a row of the trace for each question.

Is: plain data, the key of the cache, the contract of whoever keeps it, and what a session finds there. Is not: the
store (`books.py`). Only what a backend has said gets a key, and never a failure. Above: `broker.py`. Below:
`questions.py`, `backends/protocol.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from rlm_kernel_mcp.session.answering.backends.protocol import Facts
from rlm_kernel_mcp.session.answering.questions import Question, Sketch

Fate = Literal["answered", "cached", "duplicate", "failed", "late"]
"""Late: its answer came, or was paid for, when nobody waited for it any more."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer in the cache."""

    text: str
    model_said: str = ""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a question took of the backend. None: nobody says."""

    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = None
    attempts: int = 0
    queued_ms: int = 0
    duration_ms: int = 0

    def and_more(self, more: Spent) -> Spent:
        """Tokens and dollars of both."""
        usd = None if self.usd is None and more.usd is None else (self.usd or 0.0) + (more.usd or 0.0)
        return Spent(self.tokens_in + more.tokens_in, self.tokens_out + more.tokens_out, usd)


NOTHING: Final = Spent()


@dataclass(frozen=True, slots=True)
class Said:
    """Who has answered: what the model calls itself, and who brought it, where that is not the backend."""

    model: str = ""
    by: str = ""
    child: str | None = None
    """The session that was to answer."""


NOBODY: Final = Said()


@dataclass(frozen=True, slots=True)
class Entry:
    """One question in the books."""

    question: Question
    model: str
    fate: Fate
    answer: str | None = None
    error_code: str | None = None
    duplicate_of: int | None = None
    said: Said = NOBODY
    spent: Spent = NOTHING


class Books(Protocol):
    """Whoever keeps it. Nothing here waits for a disk, but for `kept`, and nothing raises."""

    def kept_at_once(self, keys: Sequence[str]) -> Mapping[str, Kept] | None:
        """The answers that are kept under some keys; None: that would have to be waited for."""

    async def kept(self, keys: Sequence[str]) -> Mapping[str, Kept]:
        """The same, waited for."""

    def keep(self, session_id: str, key: str, answer: Kept) -> None:
        """Keep an answer, in place of an earlier one. Whoever asks from now on finds it."""

    def write(self, session_id: str, entry: Entry) -> int:
        """Book a question; returns the id of its row."""

    def note_missed(self, session_id: str, row_ids: Sequence[int]) -> None:
        """Answers that are booked did not have their schema."""

    async def settled(self, session_id: str) -> None:
        """Wait until all that is known of a session's questions can be read where it is kept."""

    def flush(self) -> None:
        """Let nothing wait to be written: the server ends."""

    def totals(self, session_id: str) -> tuple[int, int, float]:
        """Questions of a session that were sent, their tokens, and dollars as far as known. It may wait for a disk."""

    def answerers(self, session_id: str) -> set[str]:
        """Who has answered a session: identities (`Facts`). It may wait for a disk."""


class NoBooks:
    """Keeps nothing."""

    def kept_at_once(self, keys: Sequence[str]) -> Mapping[str, Kept]:
        """None is kept."""
        del keys
        return {}

    async def kept(self, keys: Sequence[str]) -> Mapping[str, Kept]:
        """None is kept."""
        return self.kept_at_once(keys)

    def keep(self, session_id: str, key: str, answer: Kept) -> None:
        """It is not."""

    def write(self, session_id: str, entry: Entry) -> int:
        """There is no trace."""
        del session_id, entry
        return 0

    def note_missed(self, session_id: str, row_ids: Sequence[int]) -> None:
        """There is no trace."""

    async def settled(self, session_id: str) -> None:
        """There is no trace."""

    def flush(self) -> None:
        """There is no trace."""

    def totals(self, session_id: str) -> tuple[int, int, float]:
        """There is no trace."""
        del session_id
        return 0, 0, 0.0

    def answerers(self, session_id: str) -> set[str]:
        """There is no trace."""
        del session_id
        return set()


class Keys:
    """Names of answers: of all that each depends on, and of nothing of who asked."""

    def __init__(self, facts: Facts, model: str, schema: str | None) -> None:
        """Of answers that have this in common: a schema may be long, and is looked at once."""
        parts = (facts.form, facts.name, facts.where, model, schema or "")
        # Each with its length, so that no two different ones look the same.
        said = "".join(f"{len(part)}:{part}" for part in parts)
        self._common = hashlib.sha256(said.encode("utf-8", "surrogatepass"))

    def of(self, digest: str) -> str:
        """That of a question with these texts (`questions_wire.digest_of`)."""
        name = self._common.copy()
        name.update(digest.encode())
        return name.hexdigest()

    def sizes(self, sketches: Iterable[Sketch], more: int) -> dict[str, int]:
        """Bytes of each question by its name: equal ones are one. `more`: what is sent with each."""
        return {self.of(one.digest): one.utf8_bytes + more for one in sketches}


class KeptAnswers:
    """The answers that are kept, as one session has them.

    What was asked once more is kept for its own session alone, before what is kept for all: the words of its code on
    the answer before were sent too, and may be anything.
    """

    def __init__(self, session_id: str, facts: Facts, books: Books, *, has_own: bool) -> None:
        """`has_own`: whether some may be kept for this session alone."""
        self._session_id, self._facts, self._books, self._has_own = session_id, facts, books, has_own
        self._keys: tuple[tuple[str, str | None], Keys] | None = None
        """Of the questions that came last; those of one call have the same."""

    def keys_of(self, model: str, schema: str | None) -> Keys:
        """The names of answers that have this in common."""
        if self._keys is None or self._keys[0] != (model, schema):
            self._keys = (model, schema), Keys(self._facts, model, schema)
        return self._keys[1]

    def keep(self, question: Question, key: str, answer: Kept) -> None:
        """Keep an answer, unless it is a turn of a conversation."""
        if question.conversation is not None:
            return
        is_own = question.repair is not None
        self._has_own |= is_own
        if not is_own:
            self._books.keep(self._session_id, key, answer)
        if is_own or (self._has_own and question.fresh):  # in the place of an earlier one; else none was found
            self._books.keep(self._session_id, self._own(key), answer)

    def at_once(self, keys: Sequence[str]) -> Mapping[str, Kept] | None:
        """As `Books.kept_at_once`."""
        found = self._books.kept_at_once(self._names(keys))
        return None if found is None else self._by_key(keys, found)

    async def waited_for(self, keys: Sequence[str]) -> Mapping[str, Kept]:
        """As `Books.kept`."""
        return self._by_key(keys, await self._books.kept(self._names(keys)))

    def _own(self, key: str) -> str:
        return hashlib.sha256(f"{self._session_id} {key}".encode()).hexdigest()

    def _names(self, keys: Sequence[str]) -> Sequence[str]:
        return [*map(self._own, keys), *keys] if self._has_own else keys

    def _by_key(self, keys: Sequence[str], found: Mapping[str, Kept]) -> Mapping[str, Kept]:
        if not self._has_own:
            return found
        return {key: kept for key in keys if (kept := found.get(self._own(key)) or found.get(key)) is not None}
