"""Has an agent work in a child session: the question waits at the parent's desk and names the session.

Is: which comes first, the child's final answer or an answer to the question itself. Is not: an agent; nobody is asked
by the host. Above: `session/boards/choice.py`. Below: `protocol.py`, `words.py`, `session/parked/desk.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from rlm_kernel_mcp.questions_wire import CHILDREN_MAX
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Question
from rlm_kernel_mcp.session.children.protocol import Child, Ended
from rlm_kernel_mcp.session.children.words import by_agent
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.parked.reports import DECLINED_CHARS, PROGRAM, AnswerGiven
from rlm_kernel_mcp.text.safe_text import safe_prefix

NOT_IN_TIME: Final = "Nobody finished the child session in time; the agent that drives the session may be gone."


class ByAgent:
    """Of all sessions."""

    at_once = CHILDREN_MAX

    async def answer(self, child: Child, question: Question, desk: Desk | None) -> Ended:
        """Wait for whoever comes."""
        assert desk is not None  # such a session has one
        handed: asyncio.Future[tuple[AnswerGiven | None, str]] = asyncio.get_running_loop().create_future()

        def on_end(answer: AnswerGiven | None, by: str) -> None:
            if not handed.done():
                handed.set_result((answer, by))

        one = desk.put(
            question.prompt,
            question.text,
            question.schema,
            step_index=question.step_index,
            on_end=on_end,
            kind="rlm",
            child=child.session_id,
            told=by_agent(child.session_id, question),
        )
        child.on_use = lambda: desk.renew(one)
        try:
            ends: set[asyncio.Future[Any]] = {child.final, handed}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            desk.drop(one)
        if child.final.done():
            return Ended(child.final.result(), f"agent:{child.session_id}")
        answer, by = handed.result()
        who = f"agent:{by or PROGRAM}"
        if answer is None:
            return Ended(Failed("timeout", NOT_IN_TIME), who)
        if answer.text is not None:
            return Ended(Answered(answer.text), who)
        return Ended(Failed("declined", safe_prefix(answer.error or "", DECLINED_CHARS)[0]), who)
