"""Where a session's questions wait for whoever drives it: pages, leases and answers, on the event loop's clock.

Is: when a page is due, who is told, and what becomes of an answer. Is not: an agent, or anything that asks one: this
waits until somebody calls. Above: `session/steps/`, `session/calls/`, `session/boards/`. Below: `pile.py`, `pages.py`,
`reports.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput, VariableNotFound
from rlm_kernel_mcp.kernel.untrusted.values import NotPlain, plain_json
from rlm_kernel_mcp.questions_wire import Kind
from rlm_kernel_mcp.session.parked.pages import (
    DELEGATE,
    DELEGATE_CHILDREN,
    DELEGATED_FROM,
    PREVIEW_CHARS,
    RAW_QUESTIONS,
    body_of,
    page_of,
    raw_page_of,
)
from rlm_kernel_mcp.session.parked.pile import LEASE_S, PATIENCE_S, OnEnd, Parked, Pile
from rlm_kernel_mcp.session.parked.reports import AnswerGiven, AskedItem, QuestionPage
from rlm_kernel_mcp.session.reports import VariableSlice
from rlm_kernel_mcp.text.safe_text import safe_prefix
from rlm_kernel_mcp.text.wording import counted

QUIET_S: Final = 0.005
"""Threads and tasks ask one after the other: a page waits until the kernel has said nothing for so long."""
UNQUIET_S: Final = 2.0
"""A page is due after this, however much the kernel goes on to say, or says that it will."""
AT_ONCE_CHARS: Final = 1_000
"""JSON that is longer is read in a thread."""
PREFIX: Final = "question:"
"""How the name of a question begins where its whole text is read as a variable."""
DIGITS_MAX: Final = 19
NOTHING_TAKEN: Final = "Call rlm_answer again with all of its answers: none was taken."
NOT_WAITING: Final = "rlm_answer without answers shows the questions that wait."


class Desk:
    """One session's. Belongs to the event loop."""

    def __init__(
        self,
        session_id: str,
        lease_s: float = LEASE_S,
        patience_s: float = PATIENCE_S,
        *,
        is_reached_by_others: bool = True,
    ) -> None:
        """`is_reached_by_others`: whether a client with a connection of its own can answer, as a sub-agent may be."""
        self._session_id, self._is_reached_by_others = session_id, is_reached_by_others
        self._pile, self.lease_s = Pile(lease_s, patience_s), lease_s
        self._change = asyncio.Event()
        self._quiet_s = self._unquiet_since_s = self._told_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_more = False
        """Whether the kernel has said that more of the same call comes: a page without it would be one too many."""
        self.is_attended = True
        """Whether anybody answers the step that runs; where a program does not, nothing is put here."""
        self.on_wake: Callable[[], None] = lambda: None
        """Called whenever those are woken who wait for a change."""
        self.are_coming: Callable[[], bool] = lambda: False
        """Whether more questions are on their way here; once they are not, `heard` is called."""

    # --- what asks

    def heard(self, *, more: bool | None = None) -> None:
        """Something was said. `more`: of a kernel's frame that asks, whether another of the same call comes."""
        if more is not None:
            self._is_more = more
        self._quiet_s = max(self._quiet_s, _now_s() + QUIET_S)
        if self._pile.waiting:  # a page that was due is not any more: somebody may have been woken for it
            self._arm()

    def put(  # noqa: PLR0913 (what a question is made of)
        self,
        prompt: str,
        text: str | None,
        schema: str | None,
        *,
        step_index: int,
        on_end: OnEnd,
        kind: Kind = "llm",
        child: str = "",
        told: str = "",
    ) -> Parked:
        """A question begins to wait. `on_end` is called once, unless it is dropped before.

        `child`, `told`: as `Parked` has them.
        """
        now_s = _now_s()
        if not self._pile.waiting:
            self._unquiet_since_s = now_s
        self.heard()
        more = {"child": child, "told": told}
        one = self._pile.put(prompt, text, schema, step_index=step_index, now_s=now_s, on_end=on_end, kind=kind, **more)
        self._arm()
        return one

    def renew(self, one: Parked) -> None:
        """Whoever has taken it is at work: the lease begins anew."""
        self._pile.renew(one.id, _now_s())

    def drop(self, one: Parked) -> None:
        """Nobody waits for its answer any more."""
        self._pile.take_out(one.id)
        self._wake_at_the_last()

    # --- what waits for a page

    @property
    def is_due(self) -> bool:
        """Whether there are questions that nobody has taken, and the kernel has said what it had to say."""
        return self._pile.waiting > 0 and _now_s() >= self._due_s

    async def change(self) -> None:
        """Wait until a page may be due, or `wake` is called."""
        await self._change.wait()

    def wake(self) -> None:
        """Have everybody look who waits for a change."""
        self._change.set()
        self._change = asyncio.Event()
        self.on_wake()

    def _wake_at_the_last(self) -> None:
        """Whoever tells others that something waits here hears that nothing does any more."""
        if not self.count:
            self.wake()

    # --- what answers

    @property
    def waits_in_words(self) -> str:
        """What a step does whose questions are here; empty where there are none."""
        return f"waits for answers to {counted(self.count, 'question')}" if self.count else ""

    @property
    def count(self) -> int:
        """How many questions wait for an answer, taken by somebody or not."""
        return self._pile.waiting + self._pile.leased

    @property
    def leased(self) -> int:
        """How many questions others have taken."""
        return self._pile.leased

    @property
    def was_shown(self) -> bool:
        """Whether each question that nobody has taken was on a page before."""
        return all(one.shown_s is not None for one in self._pile.shown)

    def raw_page(self, _room: int = 0) -> QuestionPage:
        """The first questions that nobody has taken, for a program."""
        shown = self._noted(raw_page_of(self._pile.shown, RAW_QUESTIONS))
        return QuestionPage(shown, self._pile.waiting, self._pile.leased)

    def page(self, room: int, *, is_preview: bool) -> QuestionPage:
        """The first questions that nobody has taken.

        `is_preview`: few of them, where others are to answer or are at it, or where each was shown before.
        """
        others = self._pile.for_others
        are_many = self._is_reached_by_others and others > DELEGATED_FROM
        are_theirs = are_many or (others > 0 and self._pile.leased > 0)
        is_short = is_preview and (are_theirs or self.was_shown)
        page = page_of(self._pile.shown, min(room, PREVIEW_CHARS) if is_short else room, self._pile.waiting)
        shown = self._noted(page)
        are_children = self._is_reached_by_others and any(item.kind == "rlm" for item in shown)
        words = DELEGATE_CHILDREN if are_children else DELEGATE if are_theirs else None
        delegate = None if words is None else words.format(session_id=self._session_id)
        return QuestionPage(shown, self._pile.waiting, self._pile.leased, delegate)

    def still_taken(self, by: str) -> list[int]:
        """Those that somebody has taken, and has not answered yet."""
        return [one.id for one in self._pile.taken if one.taken_by == by]

    def lease(self, most: int, room: int | None, by: str = "") -> QuestionPage | None:
        """As many as are wanted, for the caller alone for a while; None: there is none that nobody has taken.

        One session to work in at most: that takes a while, and the others are shown to somebody else meanwhile.
        """
        free = _up_to_a_session(self._pile.free)
        items = self._noted(raw_page_of(free, most) if room is None else page_of(free, room, most))
        self._pile.lease([item.id for item in items], _now_s(), by)
        self._arm()
        return QuestionPage(items, self._pile.waiting, self._pile.leased, taken_s=self.lease_s) if items else None

    def _noted(self, page: Iterable[tuple[Parked, AskedItem]]) -> tuple[AskedItem, ...]:
        now_s, page = _now_s(), list(page)
        for one, _ in page:
            one.shown_s = now_s if one.shown_s is None else one.shown_s
        return tuple(item for _, item in page)

    async def checked(self, answers: Sequence[AnswerGiven]) -> list[AnswerGiven]:
        """The same, once what functions gave was looked at, before anything is handed in.

        Raises: InvalidInput: it is no JSON.
        """
        return [await self._checked(place, answer) for place, answer in enumerate(answers)]

    async def _checked(self, place: int, answer: AnswerGiven) -> AnswerGiven:
        if answer.text is None or (one := self._pile.get(answer.id)) is None or one.kind != "function":
            return answer
        try:
            is_short = len(answer.text) <= AT_ONCE_CHARS
            plain = plain_json(answer.text) if is_short else await asyncio.to_thread(plain_json, answer.text)
        except NotPlain as error:
            what = f"answers[{place}] answers a call of a function, and its text {error}"
            raise InvalidInput(f"{what}; JSON is wanted (a text in quotes).", NOTHING_TAKEN) from None
        return replace(answer, text=plain, is_plain=True)

    def hand_in(self, answers: Iterable[AnswerGiven], by: str) -> tuple[int, ...]:
        """Give answers to who waits for them; the numbers of those that nobody waits for. `by`: who brings them."""
        rejected = []
        for answer in answers:
            if (one := self._pile.take_out(answer.id)) is None:
                rejected.append(answer.id)
            else:
                one.on_end(answer, by)
        self._wake_at_the_last()
        return tuple(rejected)

    def whole(self, number: int) -> Parked | None:
        """A question that waits, raw, for who reads all of it."""
        if (one := self._pile.get(number)) is not None and one.shown_s is None:
            one.shown_s = _now_s()
        return one

    def close(self) -> None:
        """Nothing is answered any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- time

    @property
    def _due_s(self) -> float:
        latest_s = self._unquiet_since_s + UNQUIET_S
        return latest_s if self._is_more or self.are_coming() else min(self._quiet_s, latest_s)

    def _arm(self) -> None:
        """See that `_tick` comes at the next moment at which something changes by itself; it may come before."""
        moments = [] if (next_s := self._pile.next_s()) is None else [next_s]
        if self._pile.waiting and (due_s := self._due_s) > self._told_s:
            moments.append(due_s)  # either may have passed just now
        if moments and (self._timer is None or self._timer.when() > min(moments)):
            self.close()
            self._timer = asyncio.get_running_loop().call_at(min(moments), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now_s = self._told_s = _now_s()
        self._pile.give_back(now_s)
        for one in self._pile.overdue(now_s):
            one.on_end(None, "")
        self._arm()
        self.wake()


def _up_to_a_session(free: Iterable[Parked]) -> Iterator[Parked]:
    for one in free:
        yield one
        if one.kind == "rlm":
            return


def question_part(desk: Desk | None, name: str, offset: int, limit: int) -> VariableSlice:
    """A slice of a question by the name that it is read by. Raises: VariableNotFound: none of that name waits."""
    digits = name.removeprefix(PREFIX)
    one = None if desk is None or not digits.isdecimal() else desk.whole(int(digits[:DIGITS_MAX]))
    if one is None:
        why = "it has its answer, was stopped, or was never asked"
        raise VariableNotFound(f"No question {digits[:DIGITS_MAX]!r} waits: {why}.", NOT_WAITING)
    body = body_of(one)
    shown, covered = safe_prefix(body[offset : offset + limit + 1], limit)
    end = offset + covered
    more = covered > 0 and end < len(body)
    note = f"Its prompt has {len(one.for_agents.prompt):,} characters; its text follows after an empty line."
    following, cut = end if more else None, more or offset > 0
    return VariableSlice(name, "question", len(body), shown, True, len(body), offset, following, cut, note)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
