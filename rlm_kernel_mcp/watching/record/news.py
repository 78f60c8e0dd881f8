"""What is new in the record of a session, look by look.

Is: which events were not shown yet, and what a running step has printed by its row, which is written once a second. Is
not: how they are shown (`commands/following/`, `shaping.py`), nor whoever tells of them sooner
(`watching/live/host_feed.py`). Above: `commands/following/follow.py`, `watching/live/session_stream.py`. Below:
`session/trace/reading.py`, the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, get_args

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.session.reports import GuardrailStop
from rlm_kernel_mcp.session.trace.batches import ACTION as QUESTIONS
from rlm_kernel_mcp.session.trace.batches import Heads
from rlm_kernel_mcp.session.trace.events import Texts, waits_of
from rlm_kernel_mcp.session.trace.reading import with_questions
from rlm_kernel_mcp.store.pruning import ENDED
from rlm_kernel_mcp.store.store import EventHead, SessionRecord, Store
from rlm_kernel_mcp.text.wording import counted, waits_words

ANSWERED, STOPPED, DEAD = 0, 3, 4
"""Exit statuses: the session has its answer; it has one, which came after a limit had stopped it; it has none, and no
step will run in it any more."""
_LIMITS: Final = get_args(GuardrailStop)


class View(Protocol):
    """Where it is shown."""

    def event(self, head: EventHead, texts: Texts) -> None:
        """An event that is over."""

    def running(self, head: EventHead, texts: Texts) -> None:
        """A step that runs, with what it has printed by now."""

    def line(self, text: str) -> None:
        """What is no event, and no output, for a person."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """A step that ran at the last look."""

    row_id: int | None
    ms: int
    """For how long, by its row, which is written once a second."""
    waits: int
    """For how many answers it waited."""


class Record:
    """One session's, as far as it was looked at."""

    def __init__(
        self,
        store: Store,
        session_id: str,
        view: View,
        *,
        after: int = 0,
        first_steps: int | None = None,
        newest: int | None = None,
    ) -> None:
        """`after`: events up to that id were shown before. `first_steps`: how many steps the first look takes.

        `newest`: how many events that are over are shown at first; None: all.
        """
        self._store, self._session_id, self._view = store, session_id, view
        self._after, self._first, self._newest = after, first_steps, newest
        self._shown: set[int | None] = set()
        self._from_step = 0
        """Of all before it everything was shown."""
        self._running: tuple[int | None, int] = (None, 0)
        """The row of the step that ran at the last look, and the size of its texts."""
        self._waits: tuple[int | None, int] = (None, 0)
        """A step's row, and for how many answers it waited then."""
        self.open_id: int | None = None
        """The row of the first step that has begun and was not shown as one that is over."""
        self.at_work: AtWork | None = None
        self.session: SessionRecord | None = None
        """As it stood at the last look; None: it cannot be read."""
        self.damaged = 0
        self.is_over = False
        """Whether the session has its final answer, or is gone from the record."""
        self.exit_status = ANSWERED
        """How it is over, once it is."""

    def has_shown(self, row_id: int) -> bool:
        """Whether an event was shown as one that is over."""
        return row_id in self._shown or row_id <= self._after

    def look(self, told_of: int | None = None) -> None:
        """Show what is new. `told_of`: the row of a step whose output somebody else shows."""
        for _ in self.looking(told_of):
            pass

    def looking(self, told_of: int | None = None) -> Iterator[None]:
        """The same, piece by piece: whoever shows it may take a rest after each. One at a time."""
        is_over = self.has_ended()  # first: what came before is shown then
        asked, heads = self._news()
        at_work = {head.row.step_index for head in heads if head.row.result_status == "running"}
        self._leave_out(heads, at_work)
        self.at_work = None
        for head in heads:
            row = head.row
            self._from_step = max(self._from_step, row.step_index)
            if row.result_status == "running":
                self.at_work = AtWork(row.id, row.duration_ms, waits_of(row))
                if row.id != told_of and (row.id, head.text_bytes) != self._running:
                    self._running = row.id, head.text_bytes
                    self._show(asked, head, self._view.running)
                    yield
                before, self._waits = self._waits, (row.id, self.at_work.waits)
                if self._waits != (before if before[0] == row.id else (row.id, 0)):
                    self._view.line(f"step {row.step_index} {waits_words(self._waits[1])}")
            elif not self.has_shown(row.id or 0) and _is_over(head, at_work):
                self._shown.add(row.id)
                self._show(asked, head, self._view.event)
                yield
        self.is_over, self._first = is_over and self._first is None, None

    def _leave_out(self, heads: Sequence[EventHead], at_work: Collection[int]) -> None:
        """At the first look only the newest events are shown, where not all are to be."""
        if self._newest is not None:
            over = [head.row.id for head in heads if _is_over(head, at_work)]
            before = over[: max(len(over) - self._newest, 0)]
            self._shown.update(before)
            if before:
                more = counted(len(before), "earlier event")
                self._view.line(f"[{more}: `rlm-kernel-mcp trace {self._session_id}` has all of them]")
        self._newest = None

    def _news(self) -> tuple[Heads, list[EventHead]]:
        """The events that are over or run, of the steps that are not all shown, and by what their texts are read.

        A step that is neither is left out for now, with its questions, if it may just have begun or ended between two
        reads. One whose server was killed stays as it is: it is so in a second reading too.
        """
        asked = self._read()
        if doubtful := {head.row.id for head in asked.heads if _is_open(head)}:
            asked = self._read()
        now_open = [head.row for head in asked.heads if _is_open(head) and head.row.id not in doubtful]
        at_work = [head.row for head in asked.heads if head.row.result_status == "running"]
        self.open_id = min((row.id or 0 for row in (*now_open, *at_work)), default=None)
        open_steps = {row.step_index for row in now_open}
        news = [head for head in asked.heads if head.row.step_index not in open_steps or not _of_step(head)]
        return asked, news if self._first is None else _without_later_questions(news)

    def _read(self) -> Heads:
        asked = with_questions(self._store, self._session_id, (self._from_step, self._first), full=False)
        self.damaged = max(self.damaged, asked.heads.damaged)
        return asked

    def has_ended(self) -> bool:
        """Whether it has its final answer by now, or is gone, whatever was shown of it."""
        self.session = None
        try:
            self.session = record = self._store.session(self._session_id, whole=False)
        except SessionNotFound:  # it is damaged, which its trace need not be
            return False
        if record is None:  # it is gone, unless the store could not be read just now
            self.exit_status = DEAD
            return self._store.unread is None
        reason = record.finish_reason
        self.exit_status = STOPPED if reason in _LIMITS else DEAD if reason == ENDED else ANSWERED
        return record.status == "finalized"

    def _show(self, asked: Heads, head: EventHead, show: Callable[[EventHead, Texts], None]) -> None:
        texts = asked.texts(head)
        if texts is not None:
            try:
                show(head, texts)
            except SessionNotFound:  # a final answer whose pages are damaged
                self.damaged += 1
        elif head.row.result_status != "running":  # such a row may just have been written anew
            self.damaged += 1


def _without_later_questions(heads: list[EventHead]) -> list[EventHead]:
    """Of the first steps alone: what a console's cells have asked later belongs to steps that are not read yet."""
    last = max((head.row.id or 0 for head in heads if head.row.action != QUESTIONS), default=0)
    return [head for head in heads if (head.row.id or 0) <= last]


def _is_open(head: EventHead) -> bool:
    """Whether it is a step of which the record says neither that it runs nor how it ended."""
    return head.row.action == "run_repl" and head.row.source == "mcp" and head.row.result_status == "unknown"


def _is_over(head: EventHead, at_work: Collection[int]) -> bool:
    """Whether it changes no more: questions do as long as their step can ask. `at_work`: steps that run."""
    return head.row.result_status != "running" and not (head.row.action == QUESTIONS and head.row.step_index in at_work)


def _of_step(head: EventHead) -> bool:
    """Whether it is a step or what that asked, and not what others did meanwhile."""
    return head.row.action == QUESTIONS or _is_open(head)
