"""Works in a child session by way of a model that calls tools: runs what it wants to be run, up to its final answer.

Is: the turns, and when there are too many or too many wrong ones. Is not: a limit, a retry or a trace: each turn is a
question of the child's own, which its broker sees to, and each step one of any session. Above:
`session/boards/choice.py`. Below: `tools.py`, `protocol.py`, `session/answering/conversing/conversation.py`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from rlm_kernel_mcp.errors import CitationMismatch, InvalidInput, RequestRefused, SessionBusy
from rlm_kernel_mcp.session.answering.conversing.conversation import Asks, Conversation, Result, Says, ToolCall
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Question
from rlm_kernel_mcp.session.children.protocol import Child, Ended
from rlm_kernel_mcp.session.children.tools import Run, Wrong, begun, shown, wanted
from rlm_kernel_mcp.session.parked.desk import Desk

TURNS: Final = 20
OUTPUT_CHARS: Final = 8_000
"""Of a step, as the model is shown it."""
WRONG_MAX: Final = 3
"""Turns one after the other that call no tool as it is."""
AT_ONCE: Final = 4
SLOT_S: Final = 30.0
"""How long a step waits for a kernel where all that there may be run steps: some of those may wait for this one."""
LOOK_S: Final = 0.25
NO_CALL: Final = "Call run_python or final: nothing else is read."
TOO_MANY: Final = Failed("too_many", "The child session's model had {turns:,} turns and gave no final answer.")


class Loop:
    """Of all sessions of a backend."""

    at_once = AT_ONCE

    def __init__(self, turns: int = TURNS, slot_s: float = SLOT_S) -> None:
        self._turns, self._slot_s = turns, slot_s

    async def answer(self, child: Child, question: Question, desk: Desk | None) -> Ended:
        """Turn by turn."""
        del desk
        try:
            return await self._answered(child, question)
        except SessionBusy as error:
            return Ended(Failed("too_many", error.message))

    async def _answered(self, child: Child, question: Question) -> Ended:
        conversation, wrong = begun(question, self._turns), 0
        for turn in range(1, self._turns + 1):
            given = await child.ask(conversation, turn)
            if isinstance(given, Failed):
                return Ended(Failed(given.code, f"In turn {turn:,} of the child session: {given.message}"))
            conversation, right = await self._done(child, conversation, given)
            if child.final.done():
                return Ended(child.final.result())
            wrong = 0 if right else wrong + 1
            if wrong == WRONG_MAX:
                last = conversation.turns[-1]
                why = f"The child session's model called no tool as it is, {WRONG_MAX} times in a row: {last.text}"
                return Ended(Failed("backend", why))
        return Ended(Failed(TOO_MANY.code, TOO_MANY.message.format(turns=self._turns)))

    async def _done(self, child: Child, conversation: Conversation, given: Answered) -> tuple[Conversation, bool]:
        """Do what a turn calls for; the conversation with the results, and whether any call was right."""
        conversation = conversation.and_more(Says(given.text, given.calls))
        if not given.calls:
            return conversation.and_more(Asks(NO_CALL)), False
        is_right = False
        for call in given.calls:
            text, right = await self._result(child, call)
            is_right = is_right or right
            conversation = conversation.and_more(Result(call.id, text))
            if child.final.done():
                break
        return conversation, is_right

    async def _result(self, child: Child, call: ToolCall) -> tuple[str, bool]:
        """What the model is told of a call, and whether it was one."""
        todo = wanted(call)
        if isinstance(todo, Wrong):
            return todo.why, False
        try:
            if isinstance(todo, Run):
                return await self._run(child, todo.code), True
            await child.finalize(todo.text, todo.variable)
        except SessionBusy:
            raise
        except RequestRefused as error:
            was_called = isinstance(error, InvalidInput | CitationMismatch)  # refused for what it says
            return f"{error.code}: {error.message} {error.next_step}", was_called
        return "", True

    async def _run(self, child: Child, code: str) -> str:
        """A step's report. It waits for a kernel for a while. Raises: RlmError."""
        until_s = asyncio.get_running_loop().time() + self._slot_s
        while True:
            try:
                return shown(await child.run(code, OUTPUT_CHARS))
            except SessionBusy as error:
                if asyncio.get_running_loop().time() >= until_s:
                    what = f"No kernel was free for the child session within {self._slot_s:.0f} s: {error.message}"
                    raise SessionBusy(what) from None
            await asyncio.sleep(LOOK_S)
