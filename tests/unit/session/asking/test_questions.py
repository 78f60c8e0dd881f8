"""What becomes of the questions of a step and of consoles' cells, beside each other."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.untrusted.question_frames import Cancel, Item, Wishes
from rlm_kernel_mcp.session.answering.broker import STOPPED
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Give, Question
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, Switchboard
from rlm_kernel_mcp.session.asking.asking import Asking
from rlm_kernel_mcp.session.asking.channel import KernelChannel
from rlm_kernel_mcp.session.asking.ends import PORTION
from rlm_kernel_mcp.session.asking.questions import Questions
from rlm_kernel_mcp.session.asking.room import QuestionRoom
from rlm_kernel_mcp.session.asking.waiting import Moment
from rlm_kernel_mcp.session.steps.run import RunningStep
from tests.unit.session.answering.scripted import ScriptedBackend, Turns, account, passes, played


def test_the_end_of_a_console_s_cell_stops_its_own_questions_and_no_other_cell_s() -> None:
    """Theirs would never be answered, since nobody says that they are stopped."""

    async def play() -> None:
        backend = ScriptedBackend()
        of_session = account()
        questions = Questions(Switchboard(backend).broker("s", of_session), of_session, QuestionRoom())
        questions._kernel = cast(Any, SimpleNamespace(process=SimpleNamespace(cpu_ms=lambda: 0)))
        channel, given = KernelChannel(QuestionRoom()), dict[int, Any]()
        channel.give = lambda number, is_answer, value: given.update({number: value})  # type: ignore[method-assign]
        questions._channel = channel
        first, second = questions._began("first cell"), questions._began("second cell")
        for number, cell in enumerate((first, second), 1):
            item = Item(number, f"q{number}", None, None, 2)
            questions._passing.ask_for(cell, channel, Wishes(number, None, None, fresh=False), item)
        await passes(0.5)
        questions._stop(first)
        await passes(5)
        assert (given[1]["code"], given[2]) == ("stopped", "echo of q2")
        assert (backend.prompts, backend.ended) == (["q1", "q2"], ["q1"])

    played(play)


def test_a_question_takes_room_for_its_schema_and_for_what_was_wrong_too() -> None:
    """Else code could have the host hold many times what it may."""

    async def play() -> None:
        of_session = account()
        questions = Questions(Switchboard(ScriptedBackend()).broker("s", of_session), of_session, QuestionRoom())
        questions._kernel = cast(Any, SimpleNamespace(process=SimpleNamespace(cpu_ms=lambda: 0)))
        room = QuestionRoom(most=2 + 100 + 30)
        channel = KernelChannel(room)
        wishes = Wishes(1, "s" * 100, None, fresh=False)
        questions._passing.ask_for(questions._began("a cell"), channel, wishes, Item(1, "q1", None, "r" * 30, 2))
        assert room.is_full
        channel.close()
        assert not room.is_full

    played(play)


@pytest.mark.parametrize("by", ["the end of its step", "its kernel"])
def test_an_answer_on_trial_is_waited_for_no_longer_than_its_question_is_asked(by: str) -> None:
    """Whoever finishes a child would wait for ten seconds, and hear then that it has ended."""

    async def play() -> None:
        asked = Asked()
        cell = asked.questions._began("a cell")
        asked.ask(cell, 1)
        await passes(0.5)
        trials = asked.questions._passing.trials
        look = asyncio.create_task(trials.look(asked.channel, 1, "an answer"))
        await asyncio.sleep(0)
        assert list(trials._open) == [1]
        if by == "its kernel":
            asked.questions._on_frame(asked.channel, Cancel((1,)))
        else:
            asked.questions._stop(cell)
        assert trials._open[1].done()
        assert await look is None

    played(play)


class Asked:
    """A session's questions to a scripted backend, and what its kernel is given, with a step that runs."""

    def __init__(self) -> None:
        self.backend, self.turns, self.given = ScriptedBackend(), Turns(), Counter[str]()
        of_session = account()
        broker = Switchboard(self.backend, Ceilings(100_000, 10**9, parallel=4)).broker("s", of_session)
        self.questions = Questions(broker, of_session, QuestionRoom())
        self.questions._kernel = cast(Any, SimpleNamespace(process=SimpleNamespace(cpu_ms=lambda: 0)))
        self.channel = KernelChannel(QuestionRoom())
        self.channel.give = self._give  # type: ignore[method-assign]
        self.questions._channel = self.channel
        self.step = RunningStep(1, "code", 1_000)

    def _give(self, number: int, is_answer: bool | None, value: Any) -> None:
        del number
        self.given["trial" if is_answer is None else "answer" if is_answer else value["code"]] += 1
        self.turns.note()

    def ask(self, asking: Asking, count: int) -> None:
        for number in range(1, count + 1):
            item = Item(number, f"q{number}", None, None, 2)
            self.questions._passing.ask_for(asking, self.channel, Wishes(1, None, None, fresh=False), item)


def test_a_step_that_ends_with_ten_thousand_open_questions_leaves_others_the_loop() -> None:
    """They are ended a portion at a time, and told as stopped at once; none that waits is sent meanwhile."""

    async def play() -> None:
        asked = Asked()
        with asked.questions.serving(asked.step):
            asking = asked.questions._asking
            assert asking is not None
            asked.ask(asking, 10_000)
            await passes(1.5)
            assert asked.given == {"answer": 4}
            sent = len(asked.backend.calls)
        report = asked.step.subcalls()
        assert report is not None
        assert (report.asked, report.answered, report.failed) == (10_000, 4, {"stopped": 9_996})
        await passes(5)
        assert (asked.given["stopped"], len(asked.backend.calls), asked.backend.under_way) == (9_996, sent, 0)
        assert asked.turns.most <= PORTION
        assert asked.questions._answers.tally(1).failed == {"stopped": 9_996}

    played(play)


def test_what_a_kernel_cancels_by_the_thousand_leaves_others_the_loop_and_costs_it() -> None:
    """Again and again too: what is cancelled already is nothing more to do."""

    async def play() -> None:
        asked = Asked()
        ended = asked.questions._answers.cancel
        charged: list[float] = []
        asked.channel.charge = charged.append  # type: ignore[assignment, method-assign]

        def cancel(numbers: Iterable[int], why: Failed = STOPPED) -> None:
            told = list(numbers)
            for _ in told:
                asked.turns.note()
            ended(told, why)

        asked.questions._answers.cancel = cancel  # type: ignore[method-assign]
        with asked.questions.serving(asked.step):
            asking = asked.questions._asking
            assert asking is not None
            asked.ask(asking, 3_000)
            await passes(0.5)
            for _ in range(3):
                asked.questions._on_frame(asked.channel, Cancel(tuple(range(1, 5_001))))
            await passes(0.1)
            assert (asking.open, asked.channel.open_ids, asked.given) == ({}, [], {})
            assert (asked.turns.done, asked.turns.most <= PORTION) == (3_000, True)
            assert len(charged) == 3_000 // PORTION

    played(play)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_text_that_comes_later_is_passed_on_where_a_child_may_have_it(depth: int) -> None:
    """At the last depth a model is asked, which would answer without it."""

    async def play() -> None:
        asked = Asked()
        answerer = replace(asked.questions._answers.answerer(), depth=depth)
        passed = list[Question]()
        answers = SimpleNamespace(answerer=lambda: answerer, ask=lambda question, give: passed.append(question))
        asked.questions._passing._answers = cast(Any, answers)
        with asked.questions.serving(asked.step):
            asking = asked.questions._asking
            assert asking is not None
            wishes = Wishes(1, None, None, fresh=False, kind="rlm")
            item = Item(1, "q", None, None, 2, coming=5_000_000)
            asked.questions._passing.ask_for(asking, asked.channel, wishes, item)
            if depth == 1:
                assert (passed, asked.given) == ([], {"too_large": 1})
            else:
                (one,) = passed
                assert (one.text, one.text_chars) == (None, 5_000_000)
                asked.questions._passing.kernel = cast(Any, object())  # another one by now, with ids of its own
                reader, writer = os.pipe()
                assert one.coming is not None
                with pytest.raises(KernelDied, match="is gone"):
                    await one.coming.send(writer)
                assert os.read(reader, 1) == b""  # and its end is closed
                os.close(reader)

    played(play)


def test_what_a_thread_has_answered_is_not_answered_again_and_its_step_runs_on_from_that_moment() -> None:
    """Where it could not be sent, the loop sends it, and the step has waited up to now."""

    async def play() -> None:
        for is_sent in (True, False):
            asked, passed = Asked(), list[tuple[Question, Give]]()
            sender, of_kind = asked.channel.sender, Wishes(0, None, None, fresh=False, kind="function")
            sender.give_at_once = lambda number, given, note, sent=is_sent: (note(sent), sent)[1]  # type: ignore[method-assign, misc]
            answers = SimpleNamespace(ask=lambda *question, to=passed: to.append(question))
            asked.questions._passing._answers = cast(Any, answers)
            asking = asked.questions._began("a cell")
            asking.waiting.now = lambda of=asking.waiting: Moment(of._begun_ns + 5_000_000, 0)  # type: ignore[method-assign, misc]
            asked.questions._passing.ask_for(asking, asked.channel, of_kind, Item(1, "find", "{}", None, 2))
            ((question, give),) = passed
            assert question.at_once is not None
            assert question.at_once(Answered("1")) == question.at_once.is_sent == is_sent
            assert (asking.open, asked.channel.open_ids) == ({1: -1}, [1])
            give(Answered("1"))
            assert (asking.open, asked.channel.open_ids, asking.waiting.waited_ms) == ({}, [], 5)
            assert asked.given == ({} if is_sent else {"answer": 1})

    played(play)
