"""What an endpoint answers, read strictly: it may be anybody's, and what it sends goes to code.

Is: the body of a reply to an answer, or why there is none; and the meaning of its status. Is not: the wire
(`transport.py`), nor a repetition. Sans-I/O. Above: `openai_api.py`. Below: `protocol.py`, `text/json_items.py`,
`text/printable.py`.
"""

from __future__ import annotations

import email.utils
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from rlm_kernel_mcp.both_sides.sendable import sendable
from rlm_kernel_mcp.session.answering.backends.protocol import ATTEMPTS, Answer, Unanswered
from rlm_kernel_mcp.session.answering.conversing.calls import chat_calls, responses_calls
from rlm_kernel_mcp.text.json_items import is_crowded
from rlm_kernel_mcp.text.printable import printable

ANSWER_CHARS_MAX: Final = 400_000
SAID_CHARS: Final = 200
"""Of what an endpoint says of a failure."""
ITEMS_MAX: Final = 20_000
"""Commas and brackets of a reply, outside of its texts."""
NO_JSON_TRIES: Final = 2
LONGEST_WAIT_S: Final = 86_400.0


def answer_of(body: bytes, api: str, *, may_call: bool = False) -> Answer:
    """The answer in a reply's body. `may_call`: it may be calls of tools, which were offered.

    Raises:
        Unanswered: there is none; `answer` has what was used, where the endpoint says so.
    """
    if is_crowded(body, ITEMS_MAX):
        what = f"The endpoint's answer had more than {ITEMS_MAX:,} items beside its text."
        raise Unanswered("too_large", what, is_paid=True)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Unanswered("backend", "The endpoint's answer was not JSON.", tries=NO_JSON_TRIES, is_paid=True) from None
    if not isinstance(found, dict):
        raise _odd()
    return _of_responses(found, may_call) if api == "responses" else _of_chat(found, may_call)


def _of_chat(found: dict[str, Any], may_call: bool) -> Answer:
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _odd()
    text = message.get("content")
    answer = _answer(found, text if isinstance(text, str) else "", "prompt_tokens", "completion_tokens")
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        raise _refused(answer)
    if choice.get("finish_reason") == "length":
        raise cut_off(answer)
    calls = chat_calls(message) if may_call else ()
    if calls is None or not (isinstance(text, str) or calls):
        raise _odd(answer)
    return replace(answer, calls=calls)


def _of_responses(found: dict[str, Any], may_call: bool) -> Answer:
    output = found.get("output")
    if not isinstance(output, list):
        raise _odd()
    parts = [
        part
        for item in output
        if isinstance(item, dict) and item.get("type") == "message" and isinstance(item.get("content"), list)
        for part in item["content"]
        if isinstance(part, dict)
    ]
    texts = [part["text"] for part in parts if part.get("type") == "output_text" and isinstance(part.get("text"), str)]
    answer = _answer(found, "".join(texts), "input_tokens", "output_tokens")
    details = found.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if reason == "content_filter" or any(part.get("type") == "refusal" for part in parts):
        raise _refused(answer)
    if found.get("status") == "incomplete":
        raise cut_off(answer)
    calls = responses_calls(output) if may_call else ()
    if calls is None or not (texts or calls) or found.get("status") not in (None, "completed"):
        raise _odd(answer)
    return replace(answer, calls=calls)


def _answer(found: dict[str, Any], text: str, name_in: str, name_out: str) -> Answer:
    usage = found.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    model = found.get("model")
    answer = Answer(
        sendable(text[:ANSWER_CHARS_MAX]),
        _count(usage.get(name_in)),
        _count(usage.get(name_out)),
        None,
        printable(model[:SAID_CHARS]) if isinstance(model, str) else "",
    )
    if len(text) > ANSWER_CHARS_MAX:
        raise Unanswered(
            "too_large", f"The answer had {len(text):,} characters; at most {ANSWER_CHARS_MAX:,} are taken.",
            answer=answer,
        )  # fmt: skip
    return answer


def _count(number: object) -> int | None:
    """A count of tokens that can be one."""
    return number if type(number) is int and 0 <= number <= 1_000_000_000 else None


def _odd(answer: Answer | None = None) -> Unanswered:
    return Unanswered(
        "backend", "The endpoint's answer did not have the form of its protocol.", is_paid=True, answer=answer
    )


def _refused(answer: Answer) -> Unanswered:
    return Unanswered("refused", "The model refused to answer, or its provider kept the answer back.", answer=answer)


def cut_off(answer: Answer) -> Unanswered:
    """An answer that is only the beginning of one."""
    return Unanswered(
        "too_large",
        "The answer was cut off at the most tokens that it may have (RLM_SUBCALL_OUTPUT_TOKENS). "
        "Ask for less in one question.",
        answer=answer,
    )


def failure_of(status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> Unanswered:
    """What a status that is not success means.

    Args:
        status: of HTTP.
        headers: of the reply.
        body: its beginning; it may say more.
        now_s: the time, in seconds since 1970, against which a date is read.
    """
    kind, said = _said(body)
    for_all = _of_all(status, kind)
    if for_all is not None:
        return Unanswered("backend", for_all, is_for_all=True)
    if status == 413 or kind == "context_length_exceeded":
        return Unanswered("too_large", f"The question is too long for the model{said}. Ask about less of the text.")
    if status == 403:  # it may be about this question's text, or its model
        return Unanswered("refused", f"The endpoint refuses the question (HTTP 403){said}.")
    tries, wait_s = 1, None
    if status in (408, 409, 429) or status >= 500:
        tries = 1 if headers.get("x-should-retry") == "false" else ATTEMPTS
        wait_s = retry_after_s(headers, now_s)
    return Unanswered("rate_limited" if status == 429 else "backend", _words(status, said), wait_s, tries=tries)


def _of_all(status: int, kind: str) -> str | None:
    """Why no question will be answered; None: others may be."""
    if status == 401:  # what it says may repeat the key
        return f"The endpoint refuses the key (HTTP {status}); the user has to correct it."
    if kind == "insufficient_quota":
        return f"The account of the key is used up (HTTP {status})."
    return None


def _words(status: int, said: str) -> str:
    if 300 <= status < 400:
        return f"The endpoint redirects (HTTP {status}), which is never followed (policy)."
    if status == 429:
        return f"The endpoint is asked too often (HTTP 429){said}."
    if status in (408, 409) or status >= 500:
        return f"The endpoint has failed (HTTP {status}){said}."
    return f"The endpoint does not take the question (HTTP {status}){said}."


def is_schema_refused(status: int, body: bytes) -> bool:
    """Whether a question may have been refused for its schema: then it is worth being asked with that in its text."""
    words = (b"response_format", b"json_schema", b"schema", b"text.format")
    return status in (400, 404, 415, 422, 501) and any(word in body for word in words)


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """For how long the endpoint wants to be left alone: in milliseconds, in seconds or as a date. None: not said."""
    for name, part in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if text and text.replace(".", "", 1).isdigit() and text.isascii() and len(text) <= 12:
            return min(float(text) / part, LONGEST_WAIT_S)
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return min(max(date.timestamp() - now_s, 0.0), LONGEST_WAIT_S)
    except (ValueError, TypeError, OverflowError):
        return None


def _said(body: bytes) -> tuple[str, str]:
    """The kind of an error and what the endpoint says of it, cut and safe to show."""
    if is_crowded(body, ITEMS_MAX):
        return "", ""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = found.get("error") if isinstance(found, dict) else None
    error = error if isinstance(error, dict) else {}
    kind, message = error.get("code") or error.get("type"), error.get("message")
    said = f": {printable(message[:SAID_CHARS])}" if isinstance(message, str) and message else ""
    return kind if isinstance(kind, str) else "", said.removesuffix(".")
