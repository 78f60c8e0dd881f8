"""What a session's questions and its children wait for of one another, they get."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from rlm_kernel_mcp.errors import ContextTooLarge
from rlm_kernel_mcp.session.answering.conversing.conversation import Conversation
from rlm_kernel_mcp.session.answering.keeping import NOTHING
from rlm_kernel_mcp.session.answering.questions import Answered, Coming, Given, Question
from rlm_kernel_mcp.session.answering.switchboard import Switchboard
from rlm_kernel_mcp.session.boards.agents import AgentBoard
from rlm_kernel_mcp.session.children.carrying import Carried, Carrier
from rlm_kernel_mcp.session.children.nesting import Board, Nest, Nesting
from rlm_kernel_mcp.session.children.protocol import Ended
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.parked.reports import AnswerGiven
from rlm_kernel_mcp.session.reports import Guardrails, StepReport
from tests.unit.session.answering.scripted import Givens, ScriptedBackend, account, passes, played, question

TOKENS: Final = 5_000
"""Of the session above; a question has up to 2,301 and half of its bytes."""
LONG: Final = "x" * 2_000
"""It does not fit while a child's question has some of them."""
TOO_LONG: Final = "x" * 8_000
"""It never fits."""


class Child:
    """A child session without a kernel."""

    spent = NOTHING

    def __init__(self, nesting: Nesting, session_id: str) -> None:
        self.nesting, self.session_id = nesting, session_id
        self.final: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self.on_use: Callable[[], None] = lambda: None
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def end(self, why: str) -> None:
        """Nothing is left of it once it may end."""
        del why
        await self.may_end.wait()

    async def ask(self, conversation: Conversation, turn: int) -> Given:
        raise NotImplementedError

    async def run(self, code: str, max_output_chars: int) -> StepReport:
        raise NotImplementedError

    async def finalize(self, text: str | None, variable: str | None) -> None:
        raise NotImplementedError


class Family:
    """A session and its children: who opens them, and who works in them (`Opener` and `Way`)."""

    at_once = 4

    def __init__(self, board: Board) -> None:
        self.nest = Nest(board, 2, self)
        self.nest.opener = self
        self.account = account(tokens=TOKENS)
        self.top = self.nest.broker("top", self.account, is_new=True)
        self.account.answerer = self.top.answerer()
        self.children: list[Child] = []
        self.is_over = asyncio.Event()
        """Ends the work in all of them."""
        self.carriers, self.released, self.brought = list[Carrier](), list[int](), list[bool]()
        self.carrying: Callable[[], Awaitable[None]] | None = None
        self.opening: Callable[[], Awaitable[None]] | None = None
        """Waited for before each is open."""

    async def carried(self, carrier: Carrier, coming: Coming) -> Carried:
        """In one piece, unless a test holds it up."""
        self.carriers.append(carrier)
        if self.carrying is not None:
            await self.carrying()
        return Carried(cast(Any, None), lambda: self.released.append(coming.chars))

    async def open(
        self, parent: str, question: Question, limits: Guardrails, depth: int, carried: Carried | None
    ) -> Child:
        del question
        self.brought.append(carried is not None)
        if self.opening is not None:
            await self.opening()
        of_child = account()
        of_child.limits, of_child.parent_id, of_child.depth = limits, parent, depth
        name = f"child {len(self.children)}"
        child = Child(self.nest.broker(name, of_child, is_new=True), name)
        of_child.answerer = child.nesting.answerer()
        self.children.append(child)
        return child

    async def answer(self, child: Any, question: Question, desk: Desk | None) -> Ended:
        del child, question, desk
        await self.is_over.wait()
        return Ended(Answered("done"))


def test_a_question_that_waits_for_what_a_child_may_leave_over_is_looked_at_when_the_child_has_ended() -> None:
    """Nothing of the session's own is under way by then, whose end would have anybody look."""

    async def play() -> None:
        backend, givens = ScriptedBackend(), Givens()
        family = Family(Switchboard(backend))
        family.top.ask(question(1, "a", kind="rlm"), givens.taker(1))
        family.top.ask(question(2, TOO_LONG), givens.taker(2))
        await passes(1)
        assert givens.given == {}
        family.is_over.set()
        await givens.all()
        assert (givens[1], givens[2], backend.prompts) == ("done", "budget", [])

    played(play)


def test_a_question_that_waits_for_what_a_child_s_has_set_aside_goes_to_the_desk_when_that_has_its_answer() -> None:
    """Each of the two sessions has a desk of its own."""

    async def play() -> None:
        givens, of_child = Givens(), Givens()
        family = Family(AgentBoard())
        family.top.ask(question(1, "a", kind="rlm"), givens.taker(1))
        await passes(1)
        (child,) = family.children
        child.nesting.ask(question(1, "b"), of_child.taker(1))
        family.top.ask(question(2, LONG), givens.taker(2))
        await passes(1)
        desk, above = child.nesting.desk, family.top.desk
        assert desk is not None
        assert above is not None
        assert above.count == 0
        (asked,) = desk.page(100_000, is_preview=False).items
        assert desk.hand_in([AnswerGiven(asked.id, "yes")], "client 3") == ()
        await of_child.all()
        while not above.is_due:
            await above.change()
        (waits,) = above.page(100_000, is_preview=False).items
        above.hand_in([AnswerGiven(waits.id, "no")], "client 3")
        family.is_over.set()
        await givens.all()
        assert (of_child[1], givens[1], givens[2]) == ("yes", "done", "no")

    played(play)


def test_a_child_is_not_forgotten_where_only_its_own_work_has_what_it_waits_for() -> None:
    """The collector takes a task that nobody but itself refers to, and its question would have no answer."""

    async def play() -> None:
        known = weakref.WeakSet[asyncio.Future[None]]()

        async def opening() -> None:
            over = asyncio.get_running_loop().create_future()
            known.add(over)
            await over

        family, givens = Family(Switchboard(ScriptedBackend())), Givens()
        family.opening = opening
        family.top.ask(question(1, "a", kind="rlm"), givens.taker(1))
        await passes(1)
        gc.collect()
        assert len(known) == 1
        for over in known:
            over.set_result(None)
        family.is_over.set()
        await givens.all()
        assert givens[1] == "done"

    played(play)


def test_a_child_s_share_is_of_what_those_that_nobody_waits_for_have_given_back() -> None:
    """Else the step after one with many children could ask for none, though nearly everything is left."""

    async def play() -> None:
        family, givens = Family(Switchboard(ScriptedBackend())), Givens()
        for number in (1, 2, 3):
            family.top.ask(question(number, "a", kind="rlm", batch=number), givens.taker(number))
        await passes(1)
        for child in family.children:
            child.may_end.clear()
        family.top.end_step(1, "mcp")
        family.top.ask(question(4, "b", kind="rlm", step_index=2), givens.taker(4))
        family.top.ask(question(5, "b", kind="rlm", step_index=2), givens.taker(5))
        for child in family.children:
            await passes(1)
            assert len(family.children) == 3
            child.may_end.set()
        await passes(1)
        family.is_over.set()
        await givens.all(4, 5)
        tokens = [child.nesting.account.limits.subcall_tokens_limit for child in family.children]
        assert tokens == [TOKENS // 2, TOKENS // 4, TOKENS // 8, TOKENS // 2, TOKENS // 4]

    played(play)


def test_a_child_that_is_not_begun_gives_its_share_back_when_nobody_waits_for_it() -> None:
    """It does not wait for its turn to do so."""

    async def play() -> None:
        family, givens = Family(Switchboard(ScriptedBackend())), Givens()
        numbers = range(1, Family.at_once + 2)
        for number in numbers:
            family.top.ask(question(number, "a", kind="rlm", of=10), givens.taker(number))
        await passes(1)
        free = family.account.free.subcall_tokens_left
        family.top.cancel([numbers[-1]])
        await passes(1)
        assert len(family.children) == Family.at_once
        assert family.account.free.subcall_tokens_left == (free or 0) + TOKENS // 20
        family.is_over.set()
        await givens.all(*numbers[:-1])
        assert len(family.children) == Family.at_once

    played(play)


async def _never(writer: int) -> None:
    raise NotImplementedError


def test_a_long_text_is_brought_before_its_child_is_opened_and_counts_for_the_session_above_all() -> None:
    """Also where the child of a child asks."""

    async def play() -> None:
        family, givens = Family(Switchboard(ScriptedBackend())), Givens()
        family.nest.depth = 3
        family.top.ask(question(1, "a", kind="rlm", coming=Coming(500_000, _never)), givens.taker(1))
        await passes(1)
        (child,) = family.children
        child.nesting.ask(question(1, "b", kind="rlm", coming=Coming(600_000, _never)), givens.taker(2))
        await passes(1)
        assert family.brought == [True, True]
        assert [carrier.top for carrier in family.carriers] == ["top", "top"]
        assert family.carriers[0].turn is not family.carriers[1].turn
        family.is_over.set()
        await givens.all()
        assert (givens[1], givens[2], family.released) == ("done", "done", [])  # the children let go of theirs

    played(play)


def test_no_child_is_opened_for_a_long_text_that_nobody_wants_any_more() -> None:
    """Neither while it comes, nor where it comes in the same moment."""

    async def play() -> None:
        family, givens = Family(Switchboard(ScriptedBackend())), Givens()
        ended = list[int]()

        async def hold_up() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(1)

        family.carrying = hold_up
        family.top.ask(question(1, "a", kind="rlm", coming=Coming(500_000, _never)), givens.taker(1))
        await passes(1)
        family.top.cancel([1])
        await passes(1)
        assert (family.brought, ended, family.top._under_way) == ([], [1], set())

        async def cancelled_meanwhile() -> None:
            family.top.cancel([2])

        family.carrying = cancelled_meanwhile
        family.top.ask(question(2, "b", kind="rlm", coming=Coming(600_000, _never)), givens.taker(2))
        await passes(1)
        assert (family.brought, family.released, family.top._under_way) == ([], [600_000], set())

    played(play)


def test_a_long_text_for_which_there_is_no_room_is_said_to_be_too_large() -> None:
    async def play() -> None:
        family, givens = Family(Switchboard(ScriptedBackend())), Givens()

        async def no_room() -> None:
            raise ContextTooLarge("no room")

        family.carrying = no_room
        family.top.ask(question(1, "a", kind="rlm", coming=Coming(500_000, _never)), givens.taker(1))
        await givens.all()
        assert (givens[1], family.brought) == ("too_large", [])

    played(play)
