"""A session's questions get their answers, each once, within its limits, whatever comes between."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.questions_wire import digest_of
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Unanswered
from rlm_kernel_mcp.session.answering.broker import Broker
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Sketch
from rlm_kernel_mcp.session.answering.sending import REFUSED_AT_ONCE
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, Switchboard
from rlm_kernel_mcp.session.answering.tallies import Record
from rlm_kernel_mcp.session.reports import SubcallsUsed
from tests.unit.session.answering.scripted import (
    FACTS,
    Givens,
    ScriptedBackend,
    ScriptedBooks,
    ScriptedDay,
    Turns,
    account,
    passes,
    played,
    question,
)


def asked(broker: Broker, givens: Givens, *prompts: str, first: int = 1) -> None:
    for number, prompt in enumerate(prompts, first):
        broker.ask(question(number, prompt), givens.taker(number))


@settings(max_examples=60, deadline=None)
@given(
    prompts=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=24),
    delays=st.lists(st.floats(0, 9), min_size=8, max_size=8),
    parallel=st.integers(1, 5),
    is_slow=st.booleans(),
)
def test_each_question_gets_its_own_answer_whatever_their_order(
    prompts: list[str], delays: list[float], parallel: int, is_slow: bool
) -> None:
    """And equal ones are asked once, never more at a time than may be."""

    async def play() -> None:
        backend = ScriptedBackend(delay_s=lambda asked: delays["abcdefgh".index(asked.prompt)])
        board = Switchboard(backend, Ceilings(100_000, parallel=parallel), ScriptedBooks(is_slow=is_slow))
        broker, givens = board.broker("s", account()), Givens()
        asked(broker, givens, *prompts)
        await givens.all()
        assert [givens[number] for number in range(1, len(prompts) + 1)] == [f"echo of {one}" for one in prompts]
        assert sorted(backend.prompts) == sorted(set(prompts))
        assert backend.most <= parallel
        tally = broker.tally(1)
        assert (tally.asked, tally.answered, tally.duplicate) == (
            len(prompts),
            len(set(prompts)),
            len(prompts) - len(set(prompts)),
        )
        assert (tally.tokens_in, tally.tokens_out) == (10 * tally.answered, 3 * tally.answered)
        await board.close()

    played(play)


def test_a_question_whose_answer_is_kept_is_not_asked_again() -> None:
    """By another session too, and a batch that was cut off asks for the rest only."""

    async def play() -> None:
        backend, books = ScriptedBackend(), ScriptedBooks()
        board, givens = Switchboard(backend, books=books), Givens()
        asked(board.broker("s1", account()), givens, "a", "b")
        await givens.all()
        again = board.broker("s2", account())
        asked(again, givens, "a", "b", "c", first=11)
        await givens.all()
        assert backend.prompts == ["a", "b", "c"]
        assert [givens[number] for number in (11, 12, 13)] == ["echo of a", "echo of b", "echo of c"]
        tally = again.tally(1)
        assert (tally.cached, tally.answered) == (2, 1)
        assert again.left().subcalls == 999

    played(play)


def test_equal_questions_of_one_batch_are_asked_once_where_nothing_is_kept() -> None:
    """Also where the first was answered before the second came; in the next batch it is a question of its own."""

    async def play() -> None:
        backend = ScriptedBackend()
        board, givens = Switchboard(backend), Givens()
        broker = board.broker("s", account())
        asked(broker, givens, "a")
        await givens.all()
        asked(broker, givens, "a", first=2)
        assert givens[2] == "echo of a"
        broker.ask(question(3, "a", batch=2), givens.taker(3))
        await givens.all()
        assert backend.prompts == ["a", "a"]

    played(play)


def test_another_model_schema_or_text_is_another_question() -> None:
    """The cache tells them apart."""

    async def play() -> None:
        backend = ScriptedBackend()
        board, givens = Switchboard(backend, books=ScriptedBooks()), Givens()
        broker = board.broker("s", account())
        others: list[dict[str, str]] = [
            {},
            {"model": "m2"},
            {"schema": "{}"},
            {"text": ""},
            {"text": "t"},
            {"model": "m"},
        ]
        for number, fields in enumerate(others, 1):
            broker.ask(question(number, "a", **fields), givens.taker(number))
        await givens.all()
        assert len(backend.calls) == 5  # the model that is asked anyway may be named

    played(play)


def test_a_fresh_question_is_asked_and_its_answer_takes_the_place_of_the_kept_one() -> None:
    """So is one that is asked once more because its answer did not have the schema."""

    async def play() -> None:
        said = [Answer("one"), Answer("two"), Answer("three")]
        backend = ScriptedBackend({"a": list(said)})
        board, givens = Switchboard(backend, books=ScriptedBooks()), Givens()
        broker = board.broker("s", account())
        fields: list[dict[str, Any]] = [{}, {"fresh": True}, {}, {"repair": "not an integer"}, {}]
        for number, more in enumerate(fields, 1):
            broker.ask(question(number, "a", batch=number, **more), givens.taker(number))
            await givens.all(number)
        assert [givens[number] for number in range(1, 6)] == ["one", "two", "two", "three", "three"]
        assert broker.left().subcalls == 997

    played(play)


def test_what_a_session_s_code_says_of_an_answer_reaches_no_other_session() -> None:
    """The words with which a question is asked once more are its kernel's, and could ask for any answer."""

    async def play() -> None:
        backend = ScriptedBackend({"a": [Answer("no"), Answer("yes, as I was told"), Answer("no")]})
        board, givens = Switchboard(backend, books=ScriptedBooks()), Givens()
        hostile, other = board.broker("s1", account()), board.broker("s2", account())
        hostile.ask(question(1, "a"), givens.taker(1))
        await givens.all(1)
        hostile.ask(question(2, "a", repair="Say yes."), givens.taker(2))
        await givens.all(2)
        other.ask(question(3, "a"), givens.taker(3))
        hostile.ask(question(4, "a", batch=2), givens.taker(4))
        await givens.all(3, 4)
        assert [givens[number] for number in (2, 3, 4)] == ["yes, as I was told", "no", "yes, as I was told"]
        again = board.broker("s1", account(used=2))  # as another server has it
        again.ask(question(5, "a"), givens.taker(5))
        again.ask(question(6, "a", fresh=True, batch=2), givens.taker(6))
        await givens.all(5, 6)
        again.ask(question(7, "a", batch=3), givens.taker(7))
        await givens.all(7)
        assert [givens[number] for number in (5, 6, 7)] == ["yes, as I was told", "no", "no"]
        assert backend.prompts == ["a", "a", "a"]

    played(play)


def test_an_answer_that_no_code_has_worded_is_kept_once() -> None:
    """Also where the session has others of its own: before it was asked, none of those was found."""

    async def play() -> None:
        books, givens = ScriptedBooks(), Givens()
        broker = Switchboard(ScriptedBackend(), books=books).broker("s", account())
        broker.ask(question(1, "a", repair="Say yes."), givens.taker(1))
        await givens.all(1)
        assert len(books.answers) == 1
        broker.ask(question(2, "b"), givens.taker(2))
        await givens.all(2)
        assert len(books.answers) == 2

    played(play)


def test_questions_are_sent_in_their_order_whatever_their_look_up_takes() -> None:
    """Those of one turn of the loop, and those that come while others are looked up in a thread."""

    async def play() -> None:
        backend, givens = ScriptedBackend(), Givens()
        broker = Switchboard(backend, Ceilings(parallel=1), ScriptedBooks(is_slow=True)).broker("s", account())
        for first in (1, 4, 7):
            asked(broker, givens, *(f"{number}" for number in range(first, first + 3)), first=first)
            await asyncio.sleep(0)
        await passes(0.3)
        asked(broker, givens, "10", "11", first=10)
        await givens.all()
        assert backend.prompts == [str(number) for number in range(1, 12)]

    played(play)


def test_what_is_cancelled_is_given_nothing_and_its_call_is_ended() -> None:
    """Whether it was under way, waited for its turn or for a look into the cache; the others go on."""

    async def play() -> None:
        backend, books = ScriptedBackend(), ScriptedBooks()
        board, givens = Switchboard(backend, Ceilings(parallel=2), books), Givens()
        broker = board.broker("s", account())
        asked(broker, givens, "a", "b", "c", "d", "b")
        await passes(0.5)
        broker.cancel([1, 3, 99])
        asked(broker, givens, "e", first=6)
        broker.cancel([6])
        broker.cancel([1, 2])  # the second is wanted by the fifth still
        await givens.all(4, 5)
        assert sorted(givens.given) == [4, 5]
        assert (sorted(backend.prompts), backend.ended) == (["a", "b", "d"], ["a"])
        assert broker.tally(1).failed == {"stopped": 4}
        assert (1, "stopped") in books.fates()
        # What was under way is paid for as far as anybody knows.
        assert [entry.spent.tokens_in for entry in books.entries if entry.fate == "late"] == [151]

    played(play)


def test_a_step_s_end_stops_what_it_has_asked_and_nothing_else() -> None:
    """A console's cell goes on."""

    async def play() -> None:
        backend = ScriptedBackend()
        board, givens = Switchboard(backend), Givens()
        broker = board.broker("s", account())
        asked(broker, givens, "a", "b")
        broker.ask(question(3, "c", step_index=0, source="console"), givens.taker(3))
        await passes(0.5)
        broker.end_step(1, "mcp")
        await givens.all(3)
        assert sorted(givens.given) == [3]
        assert sorted(backend.ended) == ["a", "b"]
        assert broker.tally(1).failed == {"stopped": 2}
        asked(broker, givens, "d", first=4)
        assert broker.tally(1).asked == 3
        broker.ask(question(5, "e", step_index=2), givens.taker(5))
        assert (broker.tally(2).asked, broker.tally(1).asked) == (1, 0)
        await board.close()
        assert backend.is_closed

    played(play)


def test_an_answer_that_comes_too_late_is_kept_and_booked_and_given_to_nobody() -> None:
    """It was paid for: the next who asks gets it for nothing."""

    async def play() -> None:
        backend, books = ScriptedBackend(delay_s=lambda asked: 0), ScriptedBooks()
        board, givens = Switchboard(backend, books=books), Givens()
        broker = board.broker("s", account())
        asked(broker, givens, "a")
        backend.on_end = lambda: broker.cancel([1])  # it has answered, and nobody has heard of it yet
        await passes(1)
        assert givens.given == {}
        assert books.fates() == [(1, "stopped"), (1, "late")]
        asked(broker, givens, "a", first=2)
        await givens.all(2)
        assert (givens[2], len(backend.calls)) == ("echo of a", 1)

    played(play)


def test_what_does_not_fit_what_is_left_is_refused_and_what_was_answered_stays() -> None:
    """The number of questions is a limit, and so are the tokens; a question that was not sent costs nothing."""

    async def play() -> None:
        board, givens = Switchboard(ScriptedBackend(), Ceilings(subcalls=3)), Givens()
        mine = account(used=1)
        broker = board.broker("s", mine)
        asked(broker, givens, "a", "b", "c")
        await givens.all()
        assert [givens[number] for number in (1, 2, 3)] == ["echo of a", "echo of b", "budget"]
        assert givens.message(3) == "The question does not fit: 0 of 3 questions are left. It was not asked."
        assert mine.subcalls == SubcallsUsed(3, 26)
        small = board.broker("s2", account(10, 2_500))
        asked(small, givens, "d", "x" * 1_000, first=4)
        await givens.all()
        assert (givens[4], givens[5]) == ("echo of d", "budget")
        assert "2,487 of 2,500 tokens are left" in givens.message(5)

    played(play)


def test_a_call_of_a_function_is_sent_to_no_model() -> None:
    """A kernel may say of any question what it likes. One for a session of its own, which is too deep, a model has."""

    async def play() -> None:
        backend, givens = ScriptedBackend(), Givens()
        broker = Switchboard(backend).broker("s", account())
        broker.ask(question(1, "a", kind="function"), givens.taker(1))
        broker.ask(question(2, "a", kind="rlm"), givens.taker(2))
        await givens.all()
        assert ([givens[1], givens[2]], len(backend.calls)) == (["refused", "echo of a"], 1)

    played(play)


def test_a_reserve_is_waited_for_and_not_refused_while_others_may_use_less() -> None:
    """Else a limit that is enough for all of them would stop half, only because they were asked at once."""

    async def play() -> None:
        backend = ScriptedBackend()
        board, givens = Switchboard(backend), Givens()
        broker = board.broker("s", account(100, 5_000))
        asked(broker, givens, *"abcdef")
        await givens.all()
        assert {givens[number] for number in range(1, 7)} == {f"echo of {one}" for one in "abcdef"}
        assert backend.most == 2  # 2,300 tokens are set aside for each
        assert broker.left().tokens == 5_000 - 6 * 13

    played(play)


def test_a_batch_that_cannot_fit_is_refused_before_anything_is_spent() -> None:
    """Less what is in the cache, asked already or there twice."""

    async def play() -> None:
        backend = ScriptedBackend()
        board, givens = Switchboard(backend, Ceilings(price_usd=(1.0, 2.0)), ScriptedBooks()), Givens()
        broker = board.broker("s", account(3, 1_000_000))
        sketches = [Sketch(digest_of(one, None), 1) for one in "abcdd"]
        whole = await broker.forecast(sketches, None, None, fresh=False)
        assert (whole.calls, whole.tokens_expected, whole.tokens_most) == (4, 604, 9_204)
        assert whole.refusal is not None
        assert whole.refusal.code == "budget"
        assert (
            "4 questions do not fit: 3 of 3 questions are left. None of them was asked. Put several items into"
            in whole.refusal.message
        )
        assert whole.refusal.message.endswith("more is the user's to allow (RLM_SUBCALL_MAX).")
        assert whole.seconds is None
        assert backend.calls == []
        asked(broker, givens, "a")
        await givens.all()
        fits = await broker.forecast(sketches[1:], None, None, fresh=False)
        less = await broker.forecast(sketches, None, None, fresh=False)
        assert (fits.calls, less.calls) == (3, 3)
        assert less.refusal is not None  # two of three are left
        assert less.seconds == 1.0
        assert less.usd == pytest.approx(453e-6)
        other = await broker.forecast(sketches[:1], None, "m2", fresh=False)
        anew = await broker.forecast(sketches[:1], None, None, fresh=True)
        same = await broker.forecast(sketches[:1], None, None, fresh=False)
        assert (other.calls, anew.calls, same.calls) == (1, 1, 0)
        assert (await broker.forecast(sketches[:1], None, "no such", fresh=False)).refusal is not None
        dear = Switchboard(backend, Ceilings(usd=1.0, price_usd=(1.0, 1_000.0))).broker("dear", account())
        asked(dear, givens, "e", first=20)
        await givens.all(20)
        says = "with up to 2,301 tokens and $2.0003, does not fit: $1.00 of $1.00 are left"
        assert says in givens.message(20)
        one = await dear.forecast(sketches[:1], None, None, fresh=False)
        assert one.refusal is not None  # not one of them could be asked
        assert "2,301 tokens and $2.0003 are set aside for each" in one.refusal.message

    played(play)


def test_the_day_has_an_end_for_all_sessions_together() -> None:
    """A loop of sessions does not multiply a session's limit; what was not asked is given back."""

    async def play() -> None:
        day = ScriptedDay(20)
        board, givens = Switchboard(ScriptedBackend(), books=ScriptedBooks(), day=day), Givens()
        asked(board.broker("s1", account()), givens, *(f"one {number}" for number in range(15)))
        await givens.all()
        assert (day.left, day.asked_for) == (0, [16, 32])  # the next ones are taken before the last one is used
        asked(board.broker("s2", account()), givens, *(f"two {number}" for number in range(8)), first=101)
        await givens.all()
        ends = [givens[number] for number in range(101, 109)]
        assert ends == [f"echo of two {number}" for number in range(5)] + ["budget"] * 3
        assert "RLM_SUBCALL_DAY_MAX" in givens.message(108)
        await board.close()
        assert day.left == 0

    played(play)


def test_nobody_asks_while_the_endpoint_wants_to_be_left_alone() -> None:
    """One answer of "too many requests" holds all, and then the question that got it goes first."""

    async def play() -> None:
        limited = Unanswered("rate_limited", "too many", 30.0, tries=5)
        backend = ScriptedBackend({"a": [limited]})
        board, givens = Switchboard(backend, Ceilings(parallel=2)), Givens()
        asked(board.broker("s", account()), givens, "a", "b", "c", "d")
        await givens.all()
        assert [givens[number] for number in (1, 2, 3, 4)] == [f"echo of {one}" for one in "abcd"]
        assert backend.calls == [(1000, "a"), (1000, "b"), (1031, "a"), (1031, "c"), (1032, "d")]

    played(play)


def test_who_is_told_to_come_back_much_later_does_not_wait_for_it() -> None:
    """Nor does anybody else: all get the reason at once."""

    async def play() -> None:
        limited = Unanswered("rate_limited", "too many", 3_600.0, tries=5)
        backend = ScriptedBackend({"a": [limited]})
        board, givens = Switchboard(backend, Ceilings(parallel=1)), Givens()
        broker = board.broker("s", account())
        asked(broker, givens, "a", "b")
        await givens.all()
        asked(broker, givens, "c", first=3)
        await givens.all()
        assert [givens[number] for number in (1, 2, 3)] == ["rate_limited"] * 3
        assert "another 3,600 s" in givens.message(2)
        assert backend.prompts == ["a"]
        await passes(3_600)
        asked(broker, givens, "d", first=4)
        await givens.all()
        assert givens[4] == "echo of d"

    played(play)


def test_a_key_that_is_refused_ends_all_questions_at_once_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Asking again would be refused again; a minute later the user may have corrected it."""

    async def play() -> None:
        refused = [Unanswered("backend", "the key is refused", is_for_all=True) for _ in range(4)]
        backend = ScriptedBackend({one: [refused.pop()] for one in "abcd"})
        board, givens = Switchboard(backend, Ceilings(parallel=2)), Givens()
        broker = board.broker("s", account())
        asked(broker, givens, *"abcdefgh")
        await givens.all()
        assert {givens[number] for number in range(1, 9)} == {"backend"}
        assert len(backend.calls) == 2
        forecast = await broker.forecast([Sketch("x", 1)], None, None, fresh=False)
        assert forecast.refusal is not None
        assert forecast.refusal.code == "backend"
        asked(broker, givens, "i", first=20)
        await passes(1)
        assert givens.message(20) == "the key is refused Nothing is sent before it is tried again, in 15 s."
        await passes(15)
        asked(broker, givens, "e", first=9)
        await givens.all()
        assert givens[9] == "echo of e"

    with caplog.at_level(logging.WARNING):
        played(play)
    assert [record.message for record in caplog.records] == [
        "no question of a session is asked for 15 s: the key is refused"
    ]


def test_what_may_pass_is_tried_five_times_and_all_that_it_took_is_counted() -> None:
    """Then it fails; the pauses grow, and others are asked meanwhile."""

    async def play() -> None:
        busy = [Unanswered("backend", "busy", tries=5, is_paid=True) for _ in range(5)]
        backend, books = ScriptedBackend({"a": [*busy], "b": [*busy[:2]]}), ScriptedBooks()
        board, givens = Switchboard(backend, Ceilings(parallel=1), books), Givens()
        broker = board.broker("s", account())
        asked(broker, givens, "a", "b", "c")
        await givens.all()
        assert [givens[number] for number in (1, 2, 3)] == ["backend", "echo of b", "echo of c"]
        assert backend.prompts.count("a") == 5
        assert {entry.question.prompt: entry.spent.attempts for entry in books.entries} == {"a": 5, "b": 3, "c": 1}
        assert broker.left().subcalls == 997
        assert broker.tally(1).tokens_in == 5 * 151 + 2 * 151 + 10 + 10

    played(play)


def test_what_attempts_have_cost_is_set_aside_beside_the_next_one() -> None:
    """A question that fails again and again, and is paid each time, takes no more than the session has."""

    async def play() -> None:
        failed = [Unanswered("backend", "broken", tries=5, is_paid=True, answer=Answer("", 900, 0)) for _ in range(5)]
        backend, books = ScriptedBackend({"a": [*failed]}), ScriptedBooks()
        board, givens = Switchboard(backend, Ceilings(parallel=1), books), Givens()
        broker = board.broker("s", account(tokens=4_200))  # 2,301 are set aside for each
        asked(broker, givens, "a")
        await givens.all()
        assert (givens[1], backend.prompts) == ("backend", ["a"] * 3)
        assert givens.message(1) == ("broken It was not asked again, which does not fit: 99 of 4,200 tokens are left.")
        assert (broker.tally(1).tokens_in, books.entries[0].spent.attempts) == (2_700, 3)
        assert broker.left().tokens == 1_500  # what was set aside is given back

    played(play)


def test_dollars_of_every_attempt_are_counted() -> None:
    """Those that the backend says, or their price."""

    async def play() -> None:
        failed = Unanswered("backend", "broken", tries=5, is_paid=True, answer=Answer("", 10, 0, usd=0.25))
        backend, books = ScriptedBackend({"a": [failed, Answer("yes", 10, 1, usd=0.5)]}), ScriptedBooks()
        board, givens = Switchboard(backend, Ceilings(usd=1.0, price_usd=(1.0, 1.0)), books), Givens()
        broker = board.broker("s", account())
        asked(broker, givens, "a")
        await givens.all()
        assert (givens[1], broker.tally(1).usd, broker.left().usd) == ("yes", 0.75, 0.25)

    played(play)


@pytest.mark.parametrize("why", ["the limit of the session", "the day's limit", "a key that is refused"])
def test_thousands_that_are_refused_leave_others_the_loop(why: str) -> None:
    """A portion in each of its turns."""

    async def play() -> None:
        refused = Unanswered("backend", "the key is refused", is_for_all=True)
        backend = ScriptedBackend({"first": [refused]} if why.startswith("a key") else {})
        ceilings = Ceilings(parallel=1, subcalls=1 if why.endswith("session") else 100_000)
        board = Switchboard(backend, ceilings, day=ScriptedDay(1) if why.startswith("the day") else None)
        broker, turns = board.broker("s", account()), Turns()
        broker.ask(question(1, "first"), lambda given: None)
        for number in range(2, 5_002):
            broker.ask(question(number), lambda given: turns.note())
        await passes(5)
        assert turns.done == 5_000
        assert turns.most <= REFUSED_AT_ONCE
        assert sum(broker.tally(1).failed.values()) >= 5_000

    played(play)


def test_a_session_with_one_question_does_not_wait_for_another_s_thousand() -> None:
    """They take turns."""

    async def play() -> None:
        backend = ScriptedBackend()
        board, givens = Switchboard(backend, Ceilings(parallel=2)), Givens()
        asked(board.broker("many", account()), givens, *(f"{number}" for number in range(1_000)))
        await passes(0.5)
        asked(board.broker("few", account()), givens, "mine", first=2_001)
        await givens.all(2_001)
        assert len(givens.given) <= 4
        await board.close()

    played(play)


def test_no_more_are_asked_in_a_minute_than_may_be() -> None:
    """However fast they are answered."""

    async def play() -> None:
        backend = ScriptedBackend(delay_s=lambda asked: 0.0)
        board, givens = Switchboard(backend, Ceilings(per_minute=3)), Givens()
        asked(board.broker("s", account()), givens, *"abcdefg")
        await givens.all()
        assert [moment for moment, _ in backend.calls] == [1000.0] * 3 + [1060.0] * 3 + [1120.0]

    played(play)


def test_a_session_whose_kernel_takes_no_answers_is_not_asked_for() -> None:
    """Until it does; another session is."""

    async def play() -> None:
        backend = ScriptedBackend()
        board, givens = Switchboard(backend), Givens()
        held, other = board.broker("s1", account()), board.broker("s2", account())
        held.hold(True)
        asked(held, givens, "a")
        asked(other, givens, "b", first=2)
        await givens.all(2)
        assert backend.prompts == ["b"]
        held.hold(False)
        await givens.all()
        assert givens[1] == "echo of a"

    played(play)


def test_whatever_a_backend_raises_its_question_gets_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """And the log says what kind it was, not what it said: that may have the key in it."""

    async def play() -> None:
        backend = ScriptedBackend({"a": [ValueError("Bearer sk-canary")]})
        board, givens = Switchboard(backend), Givens()
        asked(board.broker("s", account()), givens, "a", "b")
        await givens.all()
        assert (givens[1], givens[2]) == ("backend", "echo of b")
        assert "sk-canary" not in givens.message(1)

    with caplog.at_level(logging.DEBUG, "rlm_kernel_mcp"):
        played(play)
    assert "ValueError" in caplog.text
    assert "sk-canary" not in caplog.text


def test_a_backend_that_never_answers_is_waited_for_two_minutes() -> None:
    """All attempts together."""

    async def play() -> None:
        backend = ScriptedBackend(delay_s=lambda asked: 1e9)
        board, givens = Switchboard(backend), Givens()
        asked(board.broker("s", account()), givens, "a")
        await givens.all()
        assert givens[1] == "timeout"
        assert givens.times[1] == 1_120.0

    played(play)


def test_code_may_name_the_user_s_models_and_no_other() -> None:
    """The refusal names them."""

    async def play() -> None:
        backend = ScriptedBackend()
        board, givens = Switchboard(backend), Givens()
        broker = board.broker("s", account())
        broker.ask(question(1, "a", model="m2"), givens.taker(1))
        broker.ask(question(2, "a", model="gpt-99"), givens.taker(2))
        await givens.all()
        assert (givens[1], givens[2]) == ("echo of a", "refused")
        assert "policy" in givens.message(2)
        assert givens.message(2).endswith("m, m2.")
        assert broker.answerer().models == ("m", "m2")

    played(play)


def test_an_answer_without_its_schema_is_told_of_in_the_tally_and_the_books() -> None:
    """The kernel alone can tell; of what it says of other steps nothing is believed."""

    async def play() -> None:
        books = ScriptedBooks()
        board, givens = Switchboard(ScriptedBackend(), books=books), Givens()
        broker = board.broker("s", account())
        broker.ask(question(1, "a", schema="{}"), givens.taker(1))
        await givens.all()
        broker.ask(question(2, "b", schema="{}"), givens.taker(2))
        await givens.all()
        broker.missed([1, 2, 1])
        broker.missed([1, 7])
        tally = broker.tally(1)
        assert (tally.asked, tally.answered, tally.failed, books.missed) == (2, 0, {"schema": 2}, [[1, 2]])

    played(play)


def test_a_question_that_is_asked_once_more_for_its_schema_s_sake_counts_as_the_one_that_the_code_has_asked() -> None:
    """Its first answer is none, which the trace is told at the step's end: each was sent."""

    async def play() -> None:
        books = ScriptedBooks()
        board, givens = Switchboard(ScriptedBackend(), books=books), Givens()
        broker = board.broker("s", account())
        for number, prompt in enumerate("aab", 1):
            broker.ask(question(number, prompt, schema="{}"), givens.taker(number))
        await givens.all()
        for number, prompt in enumerate("aab", 4):
            broker.ask(question(number, prompt, schema="{}", repair="no integer"), givens.taker(number))
        await givens.all()
        broker.missed([6])
        tally = broker.tally(1)
        assert (tally.asked, tally.answered, tally.duplicate, tally.failed) == (3, 1, 1, {"schema": 1})
        broker.end_step(1, "mcp")
        assert [sorted(row_ids) for row_ids in books.missed] == [[6], [1, 2, 3]]
        assert broker.left().subcalls == 1_000 - 4  # equal ones are sent once

    played(play)


def test_what_a_child_has_found_and_the_question_that_brings_it_into_form_count_as_one() -> None:
    record, schema = Record("s", FACTS, ScriptedBooks()), '{"type":"integer"}'
    found = question(1, "How many?", text="one two three", kind="rlm", schema=schema)
    form = question(2, "Give it as JSON.", text="three words", schema=schema, repair="no integer")
    for one, answer in ((found, "three words"), (form, "3")):
        record.step.begin(one)
        record.ended(one, "answered", Answered(answer))
    tally = record.step.tally(1)
    assert (tally.asked, tally.answered, tally.failed) == (1, 1, {})


def test_a_question_in_the_place_of_none_counts_whatever_the_kernel_says() -> None:
    """It was asked."""
    record = Record("s", FACTS, ScriptedBooks())
    for number in (1, 2):
        again = question(number, "a", schema="{}", repair="no integer")
        record.step.begin(again)
        record.ended(again, "failed", Failed("stopped", "over"))
    tally = record.step.tally(1)
    assert (tally.asked, tally.answered, tally.failed) == (2, 0, {"stopped": 2})


def test_no_question_but_the_first_waits_until_some_of_the_day_are_taken() -> None:
    """The next ones are taken meanwhile, and the more of them the faster they are used."""

    async def play() -> None:
        day = ScriptedDay(1_000)
        board = Switchboard(ScriptedBackend(delay_s=lambda asked: 0.015), books=ScriptedBooks(), day=day)
        broker, begun_s = board.broker("s", account()), asyncio.get_running_loop().time()
        for number in range(1, 101):
            givens = Givens()
            asked(broker, givens, f"{number}", first=number)
            await givens.all()
        took_s = asyncio.get_running_loop().time() - begun_s
        assert took_s == pytest.approx(0.1 + 100 * 0.015)  # the store takes 0.1 s
        assert day.asked_for == [16, 32, 64]
        await board.close()
        assert day.left == 900  # and each counts, those too that were asked while more were taken

    played(play)


def test_what_is_cancelled_in_the_turn_in_which_it_was_to_be_sent_costs_nothing() -> None:
    """Nobody has asked it: a frame that asks and one that cancels may come together."""

    async def play() -> None:
        backend, day, of_session, books = ScriptedBackend(), ScriptedDay(1_000), account(), ScriptedBooks()
        broker = Switchboard(backend, Ceilings(100), books, day).broker("s", of_session)
        first = Givens()
        asked(broker, first, "a")
        await first.all()
        asked(broker, Givens(), "b", first=2)
        broker.cancel([2])
        await passes(1)
        assert backend.prompts == ["a"]
        assert (of_session.subcalls.calls, broker.left().subcalls) == (1, 99)
        assert [(entry.fate, entry.spent.attempts) for entry in books.entries] == [("answered", 1), ("failed", 0)]
        asked(broker, last := Givens(), "c", first=3)
        await last.all()
        assert (backend.prompts, last[3]) == (["a", "c"], "echo of c")

    played(play)


def test_what_the_server_s_end_meets_before_it_is_sent_is_told_so_and_costs_nothing() -> None:
    async def play() -> None:
        backend, day, of_session = ScriptedBackend(), ScriptedDay(1_000), account()
        board, first, givens = Switchboard(backend, Ceilings(100), ScriptedBooks(), day), Givens(), Givens()
        broker = board.broker("s", of_session)
        asked(broker, first, "a")
        await first.all()
        asked(broker, givens, "b", first=2)
        await board.close()
        await givens.all()
        assert (givens[2], backend.prompts, of_session.subcalls.calls, day.left) == ("gone", ["a"], 1, 999)

    played(play)


def test_the_server_s_end_ends_what_is_under_way() -> None:
    """Nothing is left behind, and closing twice does no harm."""

    async def play() -> None:
        backend = ScriptedBackend()
        board, givens = Switchboard(backend, day=ScriptedDay(100)), Givens()
        broker = board.broker("s", account())
        asked(broker, givens, "a", "b")
        await passes(0.5)
        await board.close()
        await board.close()
        assert sorted(backend.ended) == ["a", "b"]
        assert (givens[1], givens[2]) == ("stopped", "stopped")
        assert len(asyncio.all_tasks()) == 1

    played(play)
