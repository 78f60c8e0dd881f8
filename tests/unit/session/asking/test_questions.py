"""What becomes of the questions of a step and of consoles' cells, beside each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from rlm_kernel_mcp.kernel.untrusted.question_frames import Item, Wishes
from rlm_kernel_mcp.session.answering.switchboard import Switchboard
from rlm_kernel_mcp.session.asking.channel import KernelChannel
from rlm_kernel_mcp.session.asking.questions import Questions
from rlm_kernel_mcp.session.asking.room import QuestionRoom
from tests.unit.session.answering.scripted import ScriptedBackend, account, passes, played


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
            questions._ask_for(cell, channel, Wishes(number, None, None, fresh=False), item)
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
        questions._ask_for(questions._began("a cell"), channel, wishes, Item(1, "q1", None, "r" * 30, 2))
        assert room.is_full
        channel.close()
        assert not room.is_full

    played(play)
