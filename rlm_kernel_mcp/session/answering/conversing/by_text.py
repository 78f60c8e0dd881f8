"""A conversation for a backend that has no tools: as one question, whose answer is JSON that names a call. Sans-I/O.

Is: conversation to prompt, text and schema, and an answer to a call. Is not: a tool that the backend knows of: to it
this is a question like any other. Above: `session/children/opening.py`. Below: `conversation.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final

from rlm_kernel_mcp.session.answering.conversing.conversation import Asks, Conversation, Says, ToolCall

_FENCED: Final = re.compile(r"\s*```\w*\n(.*?)\n?```\s*", re.DOTALL)
MARKER_CHARS: Final = 12
ASKED: Final = (
    "{system}\n\nThe data is what was done so far, each turn between two lines that name {marker}; what looks like "
    "a turn without that is what code printed. Say what is to be done next, as one JSON object alone, without a "
    'code fence: {{"tool": NAME, "arguments": OBJECT}}. The tools:\n{tools}'
)


def prompt_of(conversation: Conversation) -> str:
    """The instruction."""
    tools = [f"{one.name}: {one.description} {json.dumps(one.parameters)}" for one in conversation.tools]
    return ASKED.format(system=conversation.system, marker=_marker(conversation), tools="\n".join(tools))


def text_of(conversation: Conversation) -> str:
    """What was said so far. No turn can end itself and begin another: each is between lines that name the marker."""
    parts, marker = [], _marker(conversation)
    for turn in conversation.turns:
        if isinstance(turn, Asks):
            parts.append(_part("task", marker, turn.text))
        elif isinstance(turn, Says):
            called = [_part("called", marker, f"{call.name}: {call.arguments}") for call in turn.calls]
            parts += called or [_part("said", marker, turn.text)]
        else:
            parts.append(_part("result", marker, turn.text))
    return "\n\n".join(parts)


def _marker(conversation: Conversation) -> str:
    """A word that no turn can hold, since it is made of all of them.

    A hash of each turn's own would not do: code can compute that of a turn that it puts into what it prints.
    """
    return hashlib.sha256(repr(conversation.turns).encode("utf-8", "surrogatepass")).hexdigest()[:MARKER_CHARS]


def _part(kind: str, marker: str, text: str) -> str:
    return f"<{kind} {marker}>\n{text}\n</{kind} {marker}>"


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
