"""A conversation as the two protocols of OpenAI have it: Chat Completions, and Responses. Sans-I/O.

Is: the part of a request's body that is the conversation. Is not: the model, or a limit (`backends/requests.py`).
Above: `backends/requests.py`. Below: `conversation.py`.
"""

from __future__ import annotations

from typing import Any

from rlm_kernel_mcp.session.answering.conversing.conversation import Asks, Conversation, Says, Tool, ToolCall, Turn


def chat_body(conversation: Conversation) -> dict[str, Any]:
    """For Chat Completions."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": conversation.system}]
    messages += map(_message, conversation.turns)
    return {"messages": messages, "tools": [{"type": "function", "function": _tool(one)} for one in conversation.tools]}


def responses_body(conversation: Conversation) -> dict[str, Any]:
    """For Responses. Nothing is kept there: each request has all that was said."""
    items = [item for turn in conversation.turns for item in _items(turn)]
    tools = [{"type": "function", **_tool(one)} for one in conversation.tools]
    return {"instructions": conversation.system, "input": items, "tools": tools}


def _tool(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}


def _message(turn: Turn) -> dict[str, Any]:
    if isinstance(turn, Asks):
        return {"role": "user", "content": turn.text}
    if isinstance(turn, Says):
        calls = {"tool_calls": list(map(_call, turn.calls))} if turn.calls else {}
        return {"role": "assistant", "content": turn.text, **calls}
    return {"role": "tool", "tool_call_id": turn.call_id, "content": turn.text}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _items(turn: Turn) -> list[dict[str, Any]]:
    if isinstance(turn, Asks):
        return [{"role": "user", "content": turn.text}]
    if isinstance(turn, Says):
        said = [{"role": "assistant", "content": turn.text}] if turn.text else []
        calls = [
            {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
            for call in turn.calls
        ]
        return [*said, *calls]
    return [{"type": "function_call_output", "call_id": turn.call_id, "output": turn.text}]
