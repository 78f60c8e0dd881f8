"""The questions of one session of which each gets a child session, beside those that its broker answers.

Is: `Answers` of `session/asking/answers.py` around a broker: how deep a session is, which question may have a child,
what that may use, and what becomes of the child at its parent's end. Is not: the child (`opening.py`), nor who works in
it (`by_agent.py`, `loop.py`). Above: `session/boards/choice.py`. Below: `shares.py`, `under_way.py`,
`carrying.py`, `protocol.py`, `session/answering/broker.py`.

A session without a parent has depth 0. What its code asks is answered at depth 1, and a session of its own answers
there if the user allows more than that (`RLM_SUBCALL_DEPTH`); at the last depth a model does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol
from weakref import WeakValueDictionary

from rlm_kernel_mcp.errors import ContextTooLarge, RlmError, SessionBusy
from rlm_kernel_mcp.questions_wire import CHILDREN_MAX
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.broker import STOPPED, Broker
from rlm_kernel_mcp.session.answering.keeping import NOTHING, Said
from rlm_kernel_mcp.session.answering.ledger import Cost, Verdict
from rlm_kernel_mcp.session.answering.questions import (
    Answered,
    Answerer,
    Failed,
    Give,
    Given,
    Question,
    Source,
)
from rlm_kernel_mcp.session.asking.answers import Around
from rlm_kernel_mcp.session.children.carrying import Allowance, Carried, Carrier
from rlm_kernel_mcp.session.children.protocol import Ended, Opener, Way
from rlm_kernel_mcp.session.children.shares import share_of
from rlm_kernel_mcp.session.children.under_way import UnderWay
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.shielded import shielded

log = logging.getLogger(__name__)
END_S: Final = 60.0
FREE: Final = Cost(0, 0, 0.0, 0.0)
"""What is set aside for a question that a child answers, beside the question itself: the child's own are counted."""
NOBODY_WAITS: Final = "its parent's step has ended, or does not wait for it any more"
TOO_MANY: Final = Failed(
    "too_many",
    f"{CHILDREN_MAX:,} child sessions of this session are open, which is the most; ask when some have ended.",
)


@dataclass(slots=True)
class _Share:
    """Of the call that asked last: those that it asks have equal ones, as many as it said that there are."""

    call: tuple[int, Source, int]
    limits: Guardrails | Failed
    parts: int


class Board(Protocol):
    """Who answers the questions of a registry's sessions that no child does."""

    def broker(self, session_id: str, account: Account, *, is_new: bool = False) -> Broker:
        """A session's own."""

    async def settled(self, session_id: str) -> None:
        """Wait until the trace has all that is known of a session's questions."""

    async def close(self) -> None:
        """End what is under way."""


class Nest:
    """One registry's: `Switchboard` of `session/asking/answers.py`. Belongs to its event loop."""

    def __init__(self, board: Board, depth: int, way: Way) -> None:
        """`depth`: the last one, at which a model answers. `way`: who works in children."""
        self.board, self.depth, self.way = board, depth, way
        self.opener: Opener | None = None
        """Set by the registry, whose sessions they are."""
        self.allowance = Allowance()
        self._of: WeakValueDictionary[str, Nesting] = WeakValueDictionary()

    def broker(self, session_id: str, account: Account, *, is_new: bool = False) -> Nesting:
        """Who answers a session. What it spends is spent by its parent too, if that is here."""
        broker = self.board.broker(session_id, account, is_new=is_new)
        above = self._of.get(account.parent_id)
        if above is not None:
            account.parent, broker.ledger.above = above.account, above.broker.ledger
        made = self._of[session_id] = Nesting(self, broker, session_id, account)
        return made

    def of(self, session_id: str) -> Nesting | None:
        """A session's own, if it is here."""
        return self._of.get(session_id)

    async def settled(self, session_id: str) -> None:
        """As the board."""
        await self.board.settled(session_id)

    async def close(self) -> None:
        """As the board. Children end with their sessions."""
        await self.board.close()


class Nesting(Around):
    """One session's."""

    def __init__(self, nest: Nest, broker: Broker, session_id: str, account: Account) -> None:
        super().__init__(broker)
        self._nest, self.broker, self._session_id, self.account = nest, broker, session_id, account
        self._carrying = asyncio.Lock()
        """One long text at a time."""
        self._depth = account.depth
        self.desk = broker.desk
        self._open: dict[int, UnderWay] = {}
        if self.desk is not None:
            others_are_coming = self.desk.are_coming
            self.desk.are_coming = lambda: others_are_coming() or any(one.is_coming for one in self._open.values())
        self._turns = asyncio.Semaphore(nest.way.at_once)
        self._share: _Share | None = None
        self._under_way: set[UnderWay] = set()
        """Those that have a share: their child is waited for, or is being ended."""

    @property
    def top_id(self) -> str:
        """The session above all of its family, as far as they are here."""
        above = self._nest.of(self.account.parent_id)
        return self._session_id if above is None else above.top_id

    @property
    def depth_left(self) -> int:
        """How many sessions may stand below one another from here on, the model at the end counted."""
        return max(1, self._nest.depth - self._depth)

    def ask(self, question: Question, give: Give) -> None:
        """Have a question answered, as `Broker.ask`."""
        if self._depth:
            question = question._replace(depth=self._depth + 1, parent=self.account.parent_id)
        if question.kind != "rlm" or self.depth_left <= 1:
            self.broker.ask(question, give)
            return
        self.broker.record.step.begin(question)
        one = self._open[question.number] = UnderWay(question, give)
        if not self._leaving() and (why := self._lend(one)) is not None:
            self._tell(one, why)
            give(why)
            return
        one.task = asyncio.create_task(self._by_child(one), name=f"child of {self._session_id}")
        one.task.add_done_callback(partial(self._ended, one))

    def _limits(self, question: Question) -> Guardrails | Failed:
        """Those of the child, whose question counts from now on; or why it has none."""
        why = self.broker.refusal(self.broker.model, question) or self.broker.why_off()
        if why is not None:
            return why
        if len(self._under_way) >= CHILDREN_MAX:
            return TOO_MANY
        call = (question.step_index, question.source, question.batch)
        if self._share is None or self._share.call != call or not self._share.parts:
            limits = share_of(self.account.free, self.account.limits, question.of)
            self._share = _Share(call, limits, question.of)
        self._share.parts -= 1
        limits = self._share.limits
        if isinstance(limits, Guardrails) and self.broker.ledger.set_aside(FREE) is not Verdict.GO:
            lack = self.broker.ledger.lacks(1, 0, 0.0)
            return Failed("budget", f"The question does not fit: {lack}. It was not asked.")
        return limits

    def _leaving(self) -> list[asyncio.Task[Ended]]:
        """Those that nobody waits for any more, and whose shares are not back yet."""
        return [one.task for one in self._under_way if one.task is not None and one.is_unwanted.is_set()]

    def _lend(self, one: UnderWay) -> Failed | None:
        """Its child's share; or why it has none."""
        limits = self._limits(one.question)
        if isinstance(limits, Failed):
            return limits
        one.lent = self.account.lend(limits)
        self._under_way.add(one)
        return None

    async def _by_child(self, one: UnderWay) -> Ended:
        """Nothing cancels this once it has begun: what was opened has to be ended."""
        opener = self._nest.opener
        assert opener is not None  # the registry is there before any session
        while one.lent is None:
            if leaving := self._leaving():
                await asyncio.wait(leaving)
            elif (why := self._lend(one)) is not None:
                return Ended(why)
        async with self._turns:
            one.begun_s = time.monotonic()
            carried = await self._carried(one, opener)
            if one.is_unwanted.is_set():
                if carried is not None:
                    carried.release()
                return Ended(STOPPED)
            of = (self._session_id, one.question, one.lent.limits, self._depth + 1)
            child = one.child = await opener.open(*of, carried)
            below = self._nest.of(child.session_id)
            one.lent.by = None if below is None else below.account
            work = asyncio.create_task(self._nest.way.answer(child, one.question, self.desk), name="work in a child")
            try:
                return await one.while_wanted(work) or Ended(STOPPED)
            finally:
                await shielded(child.end(NOBODY_WAITS), f"the end of {child.session_id}", within_s=END_S)

    async def _carried(self, one: UnderWay, opener: Opener) -> Carried | None:
        """The long text of a question, if it has one that comes later. Raises: RlmError."""
        coming = one.question.coming
        if coming is None:
            return None
        carrier = Carrier(self.top_id, self._nest.allowance, self._carrying)
        return await one.while_wanted(asyncio.create_task(opener.carried(carrier, coming), name="text of a child"))

    def _ended(self, one: UnderWay, task: asyncio.Task[Ended]) -> None:
        """It has its answer, unless somebody has told it another one by now."""
        if one.lent is not None:
            self._under_way.remove(one)
            self.account.take_back(one.lent)
        if task.cancelled():
            ended = Ended(STOPPED)
        elif (error := task.exception()) is None:
            ended = task.result()
        elif isinstance(error, SessionBusy):
            ended = Ended(Failed("too_many", error.message))
        elif isinstance(error, ContextTooLarge):
            ended = Ended(Failed("too_large", error.message))
        elif isinstance(error, RlmError):
            ended = Ended(Failed("backend", f"The child session has failed: {error.message}"))
        else:
            log.error("a child of %s failed", self._session_id, exc_info=error)
            ended = Ended(Failed("backend", "The child session failed in the server; its log has the details."))
        if self.desk is not None:
            self.desk.heard()
        if self._open.get(one.question.number) is one:
            self._tell(one, ended.given, ended.model_said, ended.by)
            one.give(ended.given)

    def _tell(self, one: UnderWay, given: Given, model_said: str = "", by: str = "") -> None:
        """Count and book what has become of it."""
        del self._open[one.question.number]
        spent = one.spent
        if one.begun_s is not None:
            self.broker.ledger.settle(FREE, NOTHING)
        elif one.lent is not None:
            self.broker.ledger.give_back(FREE)
        record = self.broker.record
        record.step.sums(one.question).charge(spent)
        record.ended(
            one.question,
            "answered" if isinstance(given, Answered) else "failed",
            given,
            spent=spent,
            said=Said(model_said, by, None if one.child is None else one.child.session_id),
        )

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        """Nobody waits for these any more: their children are ended."""
        numbers = list(numbers)
        for number in numbers:
            if (one := self._open.get(number)) is not None:
                self._tell(one, why)
                one.unwanted()
        self.broker.cancel(numbers, why)

    def end_step(self, step_index: int, source: Source) -> None:
        """The step is over, and so are its children."""
        of_step = [
            number
            for number, one in self._open.items()
            if (one.question.step_index, one.question.source) == (step_index, source)
        ]
        self.cancel(of_step)
        self.broker.end_step(step_index, source)

    def answerer(self) -> Answerer:
        return replace(self.broker.answerer(), depth=self.depth_left)
