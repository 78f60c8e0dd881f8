"""A call of a function is made once, where the driver is, or is refused with the reason; on a scripted clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.questions_wire import GIVEN_CHARS_MAX
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Given, Question
from rlm_kernel_mcp.session.functions import calls as calls_module
from rlm_kernel_mcp.session.functions.booking import BOOK_S
from rlm_kernel_mcp.session.functions.callee import AtOnce, Gave
from rlm_kernel_mcp.session.functions.calls import AT_ONCE, CHARS_AT_ONCE, FunctionCalls, drive
from rlm_kernel_mcp.session.functions.offered import HostFunction, of_record, recorded
from rlm_kernel_mcp.session.parked.desk import NOTHING_TAKEN, QUIET_S, Desk
from rlm_kernel_mcp.session.parked.reports import AnswerGiven
from tests.sessions import WAIT_S
from tests.unit.session.answering.scripted import Givens, ScriptedBooks, passes, played

OFFERED = (HostFunction("find", "finds it"), HostFunction("save"))


class Program:
    """A program that has functions, and answers when the test does."""

    def __init__(self, names: Collection[str] = ("find", "save")) -> None:
        self.names = names
        self.calls: dict[int, tuple[str, str, Gave]] = {}
        self.at_once: dict[int, AtOnce] = {}
        self.dropped: list[int] = []
        self.put_off: list[tuple[int, str]] = []

    def call(self, number: int, name: str, arguments: str, gave: Gave, at_once: AtOnce) -> None:
        assert number not in self.calls, "it was called twice"
        self.calls[number], self.at_once[number] = (name, arguments, gave), at_once

    def hear(self) -> None:
        for said in self.put_off:
            self.gives(*said)
        self.put_off.clear()

    def drop(self, number: int) -> None:
        self.dropped.append(number)

    def gives(self, number: int, text: str | None, error: str | None = None) -> None:
        self.calls[number][2](text, error)


class Made:
    """Calls, and whatever they are made of."""

    def __init__(self, program: Program | None = None, *, is_program: bool | None = None, used: int = 0) -> None:
        self.books, self.desk, self.givens = ScriptedBooks(), Desk("s_1"), Givens()
        self.calls = FunctionCalls("s_1", OFFERED, self.desk, self.books, used)
        self.calls.drive(program, is_program=program is not None if is_program is None else is_program)

    def call(self, number: int, name: str = "find", arguments: str = "{}", **fields: Any) -> None:
        asked = Question(number, name, arguments, step_index=1, kind="function", **fields)
        self.calls.ask(asked, self.givens.taker(number))


def test_a_program_gets_each_call_as_it_comes_and_equal_ones_twice() -> None:
    """Without a page, or a moment of quiet: a function has effects, and its answer is nobody else's."""

    async def play() -> None:
        program = Program()
        made = Made(program)
        for number in (1, 2):
            made.call(number, "find", '{ "what" : "x" }')
        assert [call[:2] for call in program.calls.values()] == [("find", '{"what":"x"}')] * 2
        assert not made.desk.is_due
        program.gives(2, '{"a": 1, "a": 2}')
        program.gives(1, None, "not there")
        await passes(0.01)
        assert made.givens[2] == '{"a":2}'
        assert made.givens.given[1] == Failed("declined", "not there")
        assert made.books.fates() == [(2, "answered"), (1, "declined")]
        assert {entry.said.by for entry in made.books.entries} == {"program"}

    played(play)


@pytest.mark.parametrize(
    ("name", "arguments", "fields", "why"),
    [
        ("other", "{}", {}, "There is no function 'other'; this session offers find, save."),
        ("find", "[]", {}, "What find is called with is no JSON object."),
        ("find", "[" * 70 + "]" * 70, {}, "What find is called with is nested more than 64 levels deep."),
        ("find", '{"n": NaN}', {}, "What find is called with has NaN, which is not JSON."),
        ("find", "{}", {"source": "console"}, "No function is called for a console's cell, which its driver knows"),
    ],
)
def test_what_may_not_be_called_reaches_nobody(name: str, arguments: str, fields: dict[str, Any], why: str) -> None:
    async def play() -> None:
        for program in (Program(), None):
            made = Made(program)
            made.call(1, name, arguments, **fields)
            await made.givens.all()
            assert made.givens[1] == "refused"
            assert made.givens.message(1).startswith(why)
            assert (made.books.fates(), made.books.entries[0].spent.attempts) == ([(1, "refused")], 0)
            await passes(1)
            assert not made.desk.is_due
            assert program is None or not program.calls

    played(play)


@pytest.mark.parametrize("program", [None, Program(["save"])])
def test_a_program_without_the_function_is_not_asked_for_it(program: Program | None) -> None:
    """Nor is anybody else: it waits for its step's end, and would wait for ever."""

    async def play() -> None:
        made = Made(program, is_program=True)
        made.call(1)
        assert made.givens.message(1) == "The program that runs this step has no function find."
        await passes(1)
        assert not made.desk.is_due

    played(play)


def test_a_program_has_so_many_at_a_time_and_no_more_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others follow as it gives what it has, in their order; a kernel that takes no answers makes no more work."""
    monkeypatch.setattr(calls_module, "AT_ONCE_CHARS", CHARS_AT_ONCE)  # no thread reads them: the clock is not its

    async def play() -> None:
        program = Program()
        made = Made(program)
        for number in range(1, AT_ONCE + 11):
            made.call(number)
        assert list(program.calls) == list(range(1, AT_ONCE + 1))
        made.calls.hold(True)
        program.gives(3, "null")
        assert len(program.calls) == AT_ONCE
        made.calls.hold(False)
        assert list(program.calls)[AT_ONCE:] == [AT_ONCE + 1]
        for number in list(program.calls):
            program.gives(number, "null")
        assert len(program.calls) == AT_ONCE + 10
        large = json.dumps({"text": "x" * (CHARS_AT_ONCE // 10)})
        for number in range(AT_ONCE + 11, AT_ONCE + 31):
            made.call(number, "save", large)
        assert sum(len(call[1]) for call in list(program.calls.values())[AT_ONCE:]) <= CHARS_AT_ONCE + 1_000

    played(play)


def test_a_call_that_nobody_waits_for_is_dropped_and_counts_until_the_program_says_so() -> None:
    """Code that calls and cancels without end makes no work without end: the program has to be done with it."""

    async def play() -> None:
        program = Program()
        made = Made(program)
        for number in range(1, AT_ONCE + 3):
            made.call(number)
        made.calls.cancel([1, AT_ONCE + 1, 999], Failed("stopped", "over"))
        assert program.dropped == [1]
        assert len(program.calls) == AT_ONCE
        program.gives(1, "null")
        assert list(program.calls)[AT_ONCE:] == [AT_ONCE + 2]
        program.gives(2, "null")
        await passes(0.01)
        assert list(made.givens.given) == [2]
        assert made.books.fates() == [(1, "stopped"), (AT_ONCE + 1, "stopped"), (2, "answered")]
        assert [entry.spent.attempts for entry in made.books.entries] == [1, 0, 1]

    played(play)


class Sent:
    """What a thread has sent to the kernel, if it can be."""

    def __init__(self, *, can_be: bool = True) -> None:
        self.can_be, self.given = can_be, list[Given]()

    @property
    def is_sent(self) -> bool:
        return self.can_be and bool(self.given)

    def __call__(self, given: Given) -> bool:
        self.given.append(given)
        return self.can_be


def test_what_a_thread_has_sent_is_booked_as_answered_however_its_step_ends() -> None:
    """The loop may hear of it when the step is over, and its code had the answer."""

    async def play() -> None:
        program, sent = Program(), Sent()
        made = Made(program)
        for number in (1, 2, 3):
            made.call(number, at_once=sent if number < 3 else Sent())
        assert [program.at_once[number]('{ "a" : 1 }', None) for number in (1, 2)] == [True, True]
        assert sent.given == [Answered('{"a":1}')] * 2
        made.calls.cancel([1, 3])
        program.gives(1, '{ "a" : 1 }')
        program.gives(2, '{ "a" : 1 }')
        program.gives(3, "null")
        await passes(0.01)
        assert made.books.fates() == [(1, "answered"), (3, "stopped"), (2, "answered")]
        assert (program.dropped, list(made.givens.given)) == ([3], [2])
        assert [entry.answer for entry in made.books.entries] == ['{"a":1}', None, '{"a":1}']
        for number in range(4, AT_ONCE + 4):
            made.call(number)
        assert len(program.calls) == AT_ONCE + 3  # all of those before count no more

    played(play)


def test_calls_that_are_answered_are_booked_together_and_all_of_them_before_their_step_is_over() -> None:
    """With the time at which each was heard of, in their order."""

    async def play() -> None:
        program = Program()
        made = Made(program)
        for number in (1, 2, 3):
            made.call(number)
            await passes(BOOK_S / 4)
            program.gives(number, "null")
            assert made.givens[number] == "null"
        assert not made.books.entries
        await passes(BOOK_S)
        assert made.books.fates() == [(1, "answered"), (2, "answered"), (3, "answered")]
        assert [entry.spent.duration_ms for entry in made.books.entries] == [int(BOOK_S / 4 * 1000)] * 3
        made.call(4)
        program.put_off.append((4, "1"))
        made.calls.settle()
        assert (made.givens[4], made.books.fates()[3:]) == ("1", [(4, "answered")])
        await passes(2 * BOOK_S)
        assert len(made.books.entries) == 4

    played(play)


def test_what_a_thread_cannot_send_the_loop_gives_and_what_is_long_it_has_looked_at() -> None:
    async def play() -> None:
        program, short, long = Program(), Sent(can_be=False), Sent()
        made = Made(program)
        made.call(1, at_once=short)
        made.call(2, at_once=long)
        text = json.dumps("x" * 2_000)
        assert not program.at_once[1]("[NaN]", None)
        assert not program.at_once[2](text, None)
        assert (len(short.given), long.given) == (1, [])
        program.gives(1, "[NaN]")
        program.gives(2, text)
        await made.givens.all()
        assert made.givens.message(1) == "What find gave has NaN, which is not JSON."
        assert made.givens[2] == text
        made.calls.settle()
        assert sorted(made.books.fates()) == [(1, "declined"), (2, "answered")]

    asyncio.run(asyncio.wait_for(play(), WAIT_S))


def test_long_arguments_are_read_in_their_order_and_what_they_cost_is_the_kernel_s() -> None:
    """In a thread: the loop is others' too. One that is cancelled meanwhile reaches nobody."""

    async def play() -> None:
        program, charged = Program(), list[float]()
        made = Made(program)
        made.calls.open(charged.append, alone=True)
        long = json.dumps({"text": "x" * 100_000})
        for number in (1, 2, 3):
            made.call(number, "find", long)
        made.call(4, "find", "{}")
        assert not program.calls
        made.calls.cancel([2])
        while len(program.calls) < 3:
            await passes(0.001)
        assert [(number, len(call[1])) for number, call in program.calls.items()] == [
            (1, 100_011),
            (3, 100_011),
            (4, 2),
        ]
        assert len(charged) >= 3
        program.gives(3, json.dumps("y" * 100_000))
        await made.givens.all(3)
        assert made.givens[3] == '"' + "y" * 100_000 + '"'

    asyncio.run(asyncio.wait_for(play(), WAIT_S))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nope", "What find gave is no JSON."),
        ("[NaN]", "What find gave has NaN, which is not JSON."),
        (r'"\ud800"', "What find gave has a lone surrogate, which is no character."),
        ("[" * 70 + "]" * 70, "What find gave is nested more than 64 levels deep."),
        (
            json.dumps("x" * GIVEN_CHARS_MAX),
            "find gave 200,002 characters of JSON, and a call is answered by at most 200,000.",
        ),
    ],
)
def test_what_a_function_gives_is_looked_at_too(text: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "AT_ONCE_CHARS", CHARS_AT_ONCE)

    async def play() -> None:
        program = Program()
        made = Made(program)
        made.call(1)
        program.gives(1, text)
        await made.givens.all()
        assert made.givens.message(1) == why

    played(play)


def test_the_words_of_a_function_are_bounded_and_nothing_in_them_acts() -> None:
    async def play() -> None:
        program = Program()
        made = Made(program)
        made.call(1)
        program.gives(1, None, "no \x1b[2J\u202e" + "x" * 10_000)
        assert made.givens.message(1).startswith(r"no \x1b[2J")
        assert len(made.givens.message(1)) <= 2_000

    played(play)


def test_an_agent_finds_calls_on_its_page_before_questions_and_nobody_takes_them() -> None:
    """A sub-agent has no function of the driver's: it is told of none."""

    async def play() -> None:
        made = Made()
        parked = made.desk.put("p", "t", None, step_index=1, on_end=lambda answer, by: None)
        made.call(1, "find", '{"what":["x\u202e"],"n":1}')
        made.call(2, "save")
        await passes(QUIET_S)
        assert made.desk.is_due
        page = made.desk.page(8_000, is_preview=False)
        assert [item.row() for item in page.items[:2]] == [
            {"id": 10_002, "kind": "function", "name": "find", "args": {"what": [r"x\u202e"], "n": 1},
             "total_chars": 25},
            {"id": 10_003, "kind": "function", "name": "save", "args": {}, "total_chars": 6},
        ]  # fmt: skip
        assert (page.items[2].id, page.waiting) == (parked.id, 3)
        leased = made.desk.lease(10, 8_000)
        assert leased is not None
        assert [item.id for item in leased.items] == [parked.id]
        assert made.desk.lease(10, 8_000) is None
        assert made.desk.hand_in([AnswerGiven(10_002, '{"b": 1}'), AnswerGiven(10_003, error="no\x07")], "2") == ()
        await passes(0.01)
        assert made.givens[1] == '{"b":1}'
        assert made.givens.given[2] == Failed("declined", r"no\x07")
        assert [entry.said.by for entry in made.books.entries] == ["agent:2"] * 2

    played(play)


def test_calls_alone_bring_no_message_for_sub_agents() -> None:
    async def play() -> None:
        made = Made()
        for number in range(1, 41):
            made.call(number)
        await passes(QUIET_S)
        page = made.desk.page(8_000, is_preview=True)
        assert (page.delegate, page.waiting) == (None, 40)
        assert len(page.items) == 40

    played(play)


def test_a_call_longer_than_a_page_is_cut_to_a_text() -> None:
    async def play() -> None:
        made = Made()
        made.call(1, "find", json.dumps({"what": "y" * 900}))
        (item,) = made.desk.page(500, is_preview=False).items
        row = item.row()
        assert (row["name"], row["cut"], row["total_chars"]) == ("find", True, 915)
        assert row["args"].startswith('{"what":"yyy')
        assert item.chars <= 500

    played(play)


def test_an_agent_s_answer_that_is_no_json_is_refused_before_any_is_taken() -> None:
    async def play() -> None:
        made = Made()
        made.call(1)
        question = made.desk.put("p", None, None, step_index=1, on_end=lambda answer, by: None)
        plain = [
            AnswerGiven(question.id, "no JSON at all"),
            AnswerGiven(999, "nor this"),
            AnswerGiven(10_001, None, "e"),
        ]
        assert await made.desk.checked(plain) == plain
        with pytest.raises(InvalidInput) as refused:
            await made.desk.checked([*plain, AnswerGiven(10_001, "yes")])
        assert refused.value.message == (
            "answers[3] answers a call of a function, and its text is no JSON; JSON is wanted (a text in quotes)."
        )
        assert refused.value.next_step == NOTHING_TAKEN
        (yes,) = await made.desk.checked([AnswerGiven(10_001, '[1, "yes"]')])
        assert made.desk.hand_in([yes], "2") == ()
        assert made.givens[1] == '[1,"yes"]'

    played(play)


def test_what_is_never_answered_ends_when_its_time_does() -> None:
    async def play() -> None:
        made = Made()
        made.call(1)
        await made.givens.all()
        assert made.givens[1] == "timeout"

    played(play)


def test_a_session_makes_so_many_calls_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of an earlier server's time count too, and such as are refused do not."""
    monkeypatch.setattr(calls_module, "CALLS_MAX", 3)

    async def play() -> None:
        program = Program()
        made = Made(program, used=1)
        for number, name in enumerate(("find", "other", "find", "find"), 1):
            made.call(number, name)
        assert list(program.calls) == [1, 3]
        assert made.givens[4] == "too_many"

    played(play)


def test_a_program_s_functions_are_those_on_offer() -> None:
    """All of them, or some: what is not on offer could never be called."""

    async def play() -> None:
        made = Made()
        drive(made.calls, Program(["save"]), is_program=True)
        drive(made.calls, None, is_program=False)
        drive(None, None, is_program=True)
        with pytest.raises(InvalidInput, match="The session does not offer other: it offers find, save"):
            drive(made.calls, Program(["save", "other"]), is_program=True)
        with pytest.raises(InvalidInput, match="does not offer find, save: it was opened without functions"):
            drive(None, Program(), is_program=True)

    played(play)


def test_offers_are_in_the_record_and_come_back() -> None:
    reference = json.loads(json.dumps({"names": []} | recorded(OFFERED)))
    assert of_record(reference) == OFFERED
    assert (recorded(()), of_record({"names": []})) == ({}, ())
