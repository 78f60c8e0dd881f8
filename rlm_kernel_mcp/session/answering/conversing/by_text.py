"""A conversation for a backend that has no tools: as one question, whose answer is JSON that names a call. Sans-I/O.

Is: conversation to prompt, text and schema, and an answer to a call. Is not: a tool that the backend knows of: to it
this is a question like any other. Above: `session/children/opening.py`. Below: `conversation.py`.
"""

from __future__ import annotations

import json
import re
from typing import Final

from rlm_kernel_mcp.session.answering.conversing.conversation import Asks, Conversation, Says, ToolCall

_FENCED: Final = re.compile(r"\s*```\w*\n(.*?)\n?```\s*", re.DOTALL)
ASKED: Final = (
    "{system}\n\nThe data is what was done so far. Say what is to be done next, as one JSON object alone, without a "
    'code fence: {{"tool": NAME, "arguments": OBJECT}}. The tools:\n{tools}'
)


def prompt_of(conversation: Conversation) -> str:
    """The instruction."""
    tools = [f"{one.name}: {one.description} {json.dumps(one.parameters)}" for one in conversation.tools]
    return ASKED.format(system=conversation.system, tools="\n".join(tools))


def text_of(conversation: Conversation) -> str:
    """What was said so far."""
    parts = []
    for turn in conversation.turns:
        if isinstance(turn, Asks):
            parts.append(f"TASK:\n{turn.text}")
        elif isinstance(turn, Says):
            called = [f"CALLED {call.name}:\n{call.arguments}" for call in turn.calls]
            parts += called or [f"SAID:\n{turn.text}"]
        else:
            parts.append(f"RESULT:\n{turn.text}")
    return "\n\n".join(parts)


def call_of(answer: str) -> ToolCall | None:
    """The call that an answer names; None: it names none."""
    fenced = _FENCED.fullmatch(answer)
    try:
        found = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("tool"), str):
        return None
    return ToolCall("1", found["tool"], json.dumps(found.get("arguments")))
