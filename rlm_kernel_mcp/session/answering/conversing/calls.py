"""The tool calls in what an endpoint has answered, read strictly: it may be anybody's. Sans-I/O.

Is: a reply's part to calls, within bounds. Is not: whether such a tool was offered, or whether its arguments are JSON:
the model is told that (`session/children/loop.py`). Above: `backends/replies.py`. Below: `conversation.py`.
"""

from __future__ import annotations

from typing import Any, Final

from rlm_kernel_mcp.session.answering.conversing.conversation import ToolCall

CALLS_MAX: Final = 8
"""Of one turn."""
NAME_CHARS_MAX: Final = 200
ARGUMENTS_CHARS_MAX: Final = 200_000


def chat_calls(message: dict[str, Any]) -> tuple[ToolCall, ...] | None:
    """Those of a message of Chat Completions; None where they have not the form of its protocol."""
    found = message.get("tool_calls")
    if not isinstance(found, list | None):
        return None
    functions = [(one.get("id"), one.get("function")) if isinstance(one, dict) else (None, None) for one in found or ()]
    return _calls([(number, one) if isinstance(one, dict) else (None, {}) for number, one in functions])


def responses_calls(output: list[Any]) -> tuple[ToolCall, ...] | None:
    """Those in the output of Responses; None as above."""
    found = [item for item in output if isinstance(item, dict) and item.get("type") == "function_call"]
    return _calls([(item.get("call_id"), item) for item in found])


def _calls(found: list[tuple[object, dict[str, Any]]]) -> tuple[ToolCall, ...] | None:
    if len(found) > CALLS_MAX:
        return None
    calls = [_call(number, one.get("name"), one.get("arguments")) for number, one in found]
    intact = tuple(call for call in calls if call is not None)
    return intact if len(intact) == len(calls) else None


def _call(number: object, name: object, arguments: object) -> ToolCall | None:
    if not isinstance(number, str) or not isinstance(name, str) or not isinstance(arguments, str):
        return None
    if max(len(number), len(name)) > NAME_CHARS_MAX or len(arguments) > ARGUMENTS_CHARS_MAX:
        return None
    return ToolCall(number, name, arguments)
