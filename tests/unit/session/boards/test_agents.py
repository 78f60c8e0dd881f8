"""A session whose questions wait for its own agent: limits, the cache, the trace, and what an answer costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlm_kernel_mcp.session.answering.broker import Broker
from rlm_kernel_mcp.session.answering.keeping import Kept
from rlm_kernel_mcp.session.answering.questions import Sketch
from rlm_kernel_mcp.session.answering.switchboard import Ceilings
from rlm_kernel_mcp.session.boards.agents import AGENT, AgentBoard
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.parked.reports import AnswerGiven
from tests.unit.session.answering.scripted import Givens, ScriptedBooks, account, passes, played, question


class Play:
    """One session and its agent."""

    def __init__(self, board: AgentBoard | None = None, session_id: str = "s_1", most: int = 100_000) -> None:
        self.books = ScriptedBooks()
        self.account = account(most)
        self.broker: Broker = (board or AgentBoard(books=self.books)).broker(session_id, self.account, is_new=True)
        self.givens = Givens()
        assert self.broker.desk is not None
        self.desk: Desk = self.broker.desk

    async def ask(self, *prompts: str, first: int = 1, **fields: object) -> None:
        for number, prompt in enumerate(prompts, first):
            self.broker.ask(question(number, prompt, **fields), self.givens.taker(number))
        await passes(0.1)

    def shown(self) -> dict[str, int]:
        """Numbers by prompt, of the questions that nobody has taken."""
        return {item.prompt: item.id for item in self.desk.page(100_000, is_preview=False).items}

    def answer(self, *texts: tuple[str, str]) -> tuple[int, ...]:
        shown = self.shown()
        return self.desk.hand_in([AnswerGiven(shown[prompt], text) for prompt, text in texts], "client 3")


def test_an_answer_reaches_all_who_ask_the_same_and_the_trace_says_who_gave_it() -> None:
    async def play() -> None:
        one = Play()
        await one.ask("a", "b", "a")
        assert set(one.shown()) == {"a", "b"}
        assert one.answer(("a", "yes"), ("b", "no")) == ()
        await one.givens.all()
        assert [one.givens[number] for number in (1, 2, 3)] == ["yes", "no", "yes"]
        assert {entry.said.by for entry in one.books.entries} == {"agent:client 3"}
        assert one.books.fates() == [(1, "answered"), (3, "duplicate"), (2, "answered")]
        tally = one.broker.tally(1)
        assert (tally.asked, tally.answered, tally.duplicate) == (3, 2, 1)
        assert one.account.subcalls.calls == 2
        assert one.account.subcalls.tokens > 0

    played(play)


class SlowForMany(ScriptedBooks):
    """Answers that are kept have to be waited for where they are asked for by the dozen."""

    def kept_at_once(self, keys: Sequence[str]) -> Mapping[str, Kept] | None:
        return None if len(keys) > 1 else super().kept_at_once(keys)


def test_a_page_waits_for_the_questions_that_are_still_looked_up() -> None:
    """Else the first of a batch would be a page of its own, and many questions come without the word for sub-agents."""

    async def play() -> None:
        one = Play(AgentBoard(books=SlowForMany()))
        for number in range(1, 31):
            one.broker.ask(question(number, f"q{number}"), one.givens.taker(number))
        while not one.desk.is_due:
            await one.desk.change()
        page = one.desk.page(8_000, is_preview=True)
        assert page.waiting == 30
        assert page.delegate is not None
        one.broker.end_step(1, "mcp")

    played(play)


def test_an_answer_is_kept_for_its_own_session_alone() -> None:
    """An agent may have been talked into it by the data."""

    async def play() -> None:
        books = ScriptedBooks()
        board = AgentBoard(books=books)
        one, other = Play(board), Play(board, "s_2")
        await one.ask("a")
        one.answer(("a", "yes"))
        await one.ask("a", first=2, step_index=2)
        await one.givens.all()
        assert (one.givens[2], one.shown()) == ("yes", {})
        await other.ask("a")
        assert set(other.shown()) == {"a"}
        reopened = Play(board)
        await reopened.ask("a")
        assert reopened.givens[1] == "yes"

    played(play)


def test_what_an_agent_cannot_answer_is_declined_in_its_words() -> None:
    """A few of them, in which nothing acts."""

    async def play() -> None:
        one = Play()
        await one.ask("a")
        assert one.desk.hand_in([AnswerGiven(one.shown()["a"], error="not\x1b there " + "x" * 900)], "stdio") == ()
        await one.givens.all()
        assert one.givens[1] == "declined"
        message = one.givens.message(1)
        assert "\x1b" not in message
        assert len(message) <= 200
        assert one.books.answers == {}
        assert one.broker.tally(1).failed == {"declined": 1}

    played(play)


def test_a_question_that_nobody_was_shown_costs_nothing() -> None:
    """And one that was shown counts, whether it was answered or not: somebody may be at work on it."""

    async def play() -> None:
        one = Play(most=3)
        await one.ask("a", "b", "c")
        one.broker.cancel([1])
        assert one.account.subcalls.calls == 0
        assert one.broker.left().subcalls == 1
        one.shown()
        one.broker.cancel([2, 3])
        assert one.account.subcalls.calls == 2
        await one.ask("d", "e", first=4)
        await one.givens.all(5)
        assert one.givens[5] == "budget"
        assert set(one.shown()) == {"d"}

    played(play)


def test_code_that_asks_and_cancels_cannot_show_more_than_its_limit() -> None:
    """A kernel's code would fill the window of whoever drives it."""

    async def play() -> None:
        one = Play(most=20)
        seen = set[int]()
        for number in range(1, 60):
            await one.ask(f"q{number}", first=number)
            seen |= set(one.shown().values())
            one.broker.cancel([number])
        assert len(seen) == 20

    played(play)


def test_a_batch_beyond_what_is_left_is_refused_whole() -> None:
    async def play() -> None:
        one = Play(AgentBoard(Ceilings(subcalls=20)))
        sketches = [Sketch(f"{number:064}", 300) for number in range(21)]
        refused = await one.broker.forecast(sketches, None, None, fresh=False)
        assert refused.refusal is not None
        assert refused.refusal.code == "budget"
        fits = await one.broker.forecast(sketches[:20], None, None, fresh=False)
        assert (fits.calls, fits.refusal, fits.seconds) == (20, None, None)
        who = Play().broker.answerer()
        assert (who.backend, who.where, who.model, who.max_subcalls, who.parallel) == (
            "agent",
            "this agent",
            None,
            200,
            200,
        )
        assert who.wait_limit_ms == 1_800_000

    played(play)


def test_no_agent_is_asked_for_a_console_s_cell() -> None:
    async def play() -> None:
        one = Play()
        await one.ask("a", step_index=0, source="console")
        assert one.givens[1] == "refused"
        assert one.givens.message(1) == "no agent is asked for a console's cell"
        await one.ask("b", first=2, model="gpt")
        assert one.givens[2] == "refused"
        assert one.shown() == {}

    played(play)


def test_a_question_that_nobody_answers_in_time_fails_and_its_place_is_free() -> None:
    """Leased by somebody who is gone, or never shown to anybody."""

    async def play() -> None:
        one = Play(AgentBoard(Ceilings(subcalls=2), lease_s=300.0, patience_s=1_800.0), most=2)
        await one.ask("a", "b")
        one.desk.lease(1, 8_000)
        await one.givens.all()
        assert [one.givens[number] for number in (1, 2)] == ["timeout", "timeout"]
        assert one.account.subcalls.calls == 1
        assert one.broker.left().subcalls == 1

    played(play)


def test_a_wrong_answer_is_asked_once_more_with_what_was_wrong() -> None:
    async def play() -> None:
        one = Play()
        await one.ask("How many?", schema='{"type":"integer"}', repair="'many' is not of type 'integer'")
        (item,) = one.desk.page(8_000, is_preview=False).items
        assert (
            item.prompt
            == "How many?\n\nAn earlier answer did not conform to the schema: 'many' is not of type 'integer'"
        )
        assert item.schema == '{"type":"integer"}'
        one.broker.end_step(1, "mcp")

    played(play)


def test_what_waits_for_an_answer_is_not_left_of_the_limits() -> None:
    """And is given back where nobody was shown it."""

    async def play() -> None:
        one = Play(most=10)
        one.account.answerer = one.broker.answerer()
        tokens = one.account.left.subcall_tokens_left
        assert one.account.left.subcalls_left == 10
        await one.ask("a", "b", "c")
        assert one.account.left.subcalls_left == 7
        assert one.account.left.subcall_tokens_left is not None
        assert tokens is not None
        assert one.account.left.subcall_tokens_left < tokens
        one.broker.cancel([1, 2, 3])
        assert (one.account.left.subcalls_left, one.account.left.subcall_tokens_left) == (10, tokens)

    played(play)


def test_a_model_that_is_named_where_an_agent_answers_is_refused_in_words_of_that() -> None:
    """There is none to be named."""
    refusal = AGENT.refusal("gpt-9", is_console=False)
    assert refusal == "No model can be named where agent answers; leave `model` out (policy)."
