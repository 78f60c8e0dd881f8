"""A model works in a child by calls of tools: which of its turns count as wrong ones."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.answering.conversing.conversation import Conversation, ToolCall
from rlm_kernel_mcp.session.answering.questions import Answered, Given, Question
from rlm_kernel_mcp.session.children.loop import Loop
from rlm_kernel_mcp.session.children.opening import UNFIT, UNFIT_NEXT
from rlm_kernel_mcp.session.children.protocol import Child, Ended

pytestmark = pytest.mark.anyio


class Scripted:
    """A child session whose model says these turns, and which takes the final answer that is fit."""

    session_id = "s_child"

    def __init__(self, *turns: str | dict[str, Any]) -> None:
        self.turns = list(turns)
        self.final: asyncio.Future[Given] = asyncio.get_running_loop().create_future()

    async def ask(self, conversation: Conversation, turn: int) -> Given:
        del conversation
        said = self.turns.pop(0)
        if isinstance(said, str):
            return Answered(said)
        return Answered("", (ToolCall(f"call-{turn}", "final", json.dumps(said)),))

    async def finalize(self, text: str | None, variable: str | None) -> None:
        assert text is not None
        assert variable is None
        if not text.isdigit():
            raise InvalidInput(UNFIT.format(why="it is no number"), UNFIT_NEXT)
        self.final.set_result(Answered(text))


async def answered(child: Scripted) -> Ended:
    return await Loop().answer(cast(Child, child), Question(1, "how many?", "text", 1), None)


async def test_an_answer_that_is_refused_for_its_schema_is_no_turn_without_a_tool() -> None:
    """One such turn before two refusals would end the child, whose third answer is taken."""
    child = Scripted("I think it is three.", {"text": "three"}, {"text": "three!"}, {"text": "3"})
    assert (await answered(child)).given == Answered("3")


async def test_three_turns_in_a_row_without_a_call_as_it_is_end_the_child() -> None:
    given = (await answered(Scripted("one", {"answer": "3"}, "three", {"text": "3"}))).given
    assert "called no tool as it is, 3 times in a row" in getattr(given, "message", "")
