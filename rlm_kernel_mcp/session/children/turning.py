"""One turn of a conversation, asked as a question of the child session that it is about.

Is: a turn to a question and back; for a backend without tools a question in words. Its limits, retries and its row in
the trace are those of any question (`session/answering/broker.py`). Above: `opening.py`. Below:
`session/answering/broker.py`, `session/answering/conversing/`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from rlm_kernel_mcp.both_sides.sendable import sendable
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.broker import Broker
from rlm_kernel_mcp.session.answering.conversing.by_text import call_of, prompt_of, text_of
from rlm_kernel_mcp.session.answering.conversing.conversation import Conversation
from rlm_kernel_mcp.session.answering.questions import Answered, Given, Question

NUMBERS_FROM: Final = 1 << 40
"""Of turns: those of the kernel's own questions count from 1."""


async def turn_of(broker: Broker, conversation: Conversation, turn: int, account: Account) -> Given:
    """What the model says next; where this is cancelled it is not asked any more."""
    given: asyncio.Future[Given] = asyncio.get_running_loop().create_future()

    def give(answer: Given) -> None:
        if not given.done():
            given.set_result(answer)

    number = NUMBERS_FROM + turn
    last = sendable(conversation.turns[-1].text)
    question = Question(
        number=number,
        prompt=last if broker.has_tools else sendable(prompt_of(conversation)),
        text=None if broker.has_tools else sendable(text_of(conversation)),
        step_index=account.counters.step_index,
        batch=-turn,  # no other question's: what the last turn was answered is no answer to this one
        fresh=True,
        kind="turn",
        depth=account.depth,
        parent=account.parent_id,
        conversation=conversation if broker.has_tools else None,
    )
    broker.ask(question, give)
    try:
        answer = await given
    except asyncio.CancelledError:
        broker.cancel([number])
        raise
    if broker.has_tools or not isinstance(answer, Answered) or (call := call_of(answer.text)) is None:
        return answer
    return Answered("", (call,))
