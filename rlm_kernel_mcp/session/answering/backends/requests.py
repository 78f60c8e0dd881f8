"""What is sent to an endpoint of OpenAI's protocols: Chat Completions, and Responses.

Is: the path and the body for a question, or for a turn of whoever works in a child session. Nothing in it can be chosen
by code but the model, among the user's: no tool, file, image, temperature or URL. Is not: a header (`transport.py`),
nor the answer (`replies.py`). Sans-I/O. Above: `openai_api.py`. Below: `messages.py`, `strict.py`, `protocol.py`,
`conversing/bodies.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.both_sides.sendable import sendable
from rlm_kernel_mcp.session.answering.backends.messages import SYSTEM, user_text
from rlm_kernel_mcp.session.answering.backends.protocol import Asked
from rlm_kernel_mcp.session.answering.backends.strict import strict_form
from rlm_kernel_mcp.session.answering.conversing.bodies import chat_body, responses_body
from rlm_kernel_mcp.session.answering.conversing.conversation import Conversation

SCHEMA_NAME: Final = "answer"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, without its endpoint and its key."""

    path: str
    body: dict[str, Any]
    is_strict: bool
    """Whether the endpoint itself holds the model to the schema; then the answer is in an object."""


def request_for(asked: Asked, api: str, output_tokens: int, *, is_own: bool, may_be_strict: bool) -> Request:
    """The request of a question.

    Args:
        asked: the question.
        api: `chat` or `responses`.
        output_tokens: the most that the answer may have.
        is_own: the endpoint is OpenAI's or Azure's own, which call that limit otherwise than all others do.
        may_be_strict: the endpoint has not refused this schema.
    """
    if asked.conversation is not None:
        return _turn(asked.conversation, sendable(asked.model), api, output_tokens, is_own=is_own)
    form = strict_form(asked.schema) if asked.schema is not None and may_be_strict else None
    user = user_text(asked, says_schema=form is None)
    model = sendable(asked.model)
    body: dict[str, Any] = {"model": model}
    held: dict[str, Any] = {"name": SCHEMA_NAME, "schema": form, "strict": True}
    if api == "responses":
        body |= {"instructions": SYSTEM, "input": user, "max_output_tokens": output_tokens, "store": False}
        body |= {"text": {"format": {"type": "json_schema", **held}}} if form else {}
        return Request("/responses", body, form is not None)
    body |= {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]}
    body |= {"max_completion_tokens" if is_own else "max_tokens": output_tokens}
    body |= {"response_format": {"type": "json_schema", "json_schema": held}} if form else {}
    return Request("/chat/completions", body, form is not None)


def _turn(conversation: Conversation, model: str, api: str, output_tokens: int, *, is_own: bool) -> Request:
    """The request of a turn: the tools in it are ours, which whoever works in a child session is offered."""
    if api == "responses":
        body = {"model": model, **responses_body(conversation), "max_output_tokens": output_tokens, "store": False}
        return Request("/responses", body, is_strict=False)
    limit = {"max_completion_tokens" if is_own else "max_tokens": output_tokens}
    return Request("/chat/completions", {"model": model, **chat_body(conversation), **limit}, is_strict=False)
