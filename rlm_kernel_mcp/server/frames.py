"""One line of stdin made into a JSON-RPC message, or into the answer that a bad line gets; and back.

Is: reading what the SDK's own reader drops without a word, so that its sender would wait for ever: lone surrogates,
bytes that are no UTF-8, numbers of thousands of digits, deep nesting. They are handed on for the tools to refuse.
Is not: I/O (`transport.py`), nor any judgement of arguments (`requests.py`).
Above: `transport.py`. Below: the SDK's message types.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from mcp.types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

log = logging.getLogger(__name__)

DEEPEST: Final = 64
"""Levels of nesting that are kept of a message nested too deep to be parsed."""

MESSAGE_PARTS: Final = '"jsonrpc": "2.0", a text as "method" and, if any, an object as "params"'

LONGEST_NUMBER: Final = 1_000
"""Digits of a whole number that is read exactly; a longer one is beyond every bound and read as infinite."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_ID: Final = re.compile(r'\s*:\s*(-?\d{1,18}|"[^"\\\x00-\x1f]{0,200}")\s*[,}]')


@dataclass(frozen=True, slots=True)
class Frame:
    """What a line came to: a message for the server, or an answer that goes straight back; one of the two."""

    message: JSONRPCMessage | None = None
    answer: JSONRPCError | None = None


def read_frame(line: bytes) -> Frame | None:
    """The frame of a line; None where it is blank, or bad with no request id to answer (the log says so)."""
    # surrogateescape: a byte that is no UTF-8 stays visible as a lone surrogate, for the tool to refuse by place.
    text = line.decode("utf-8", "surrogateescape")
    if not text.strip():
        return None
    try:
        body = _parse(text)
    except ValueError as error:
        return _refuse(_id_in(text), PARSE_ERROR, f"The line is not JSON: {error}")
    try:
        message = jsonrpc_message_adapter.validate_python(body, by_name=False)
    except ValidationError:
        request_id = body.get("id") if isinstance(body, dict) and "method" in body else None
        return _refuse(request_id, INVALID_REQUEST, f"The line is no JSON-RPC 2.0 message: it needs {MESSAGE_PARTS}.")
    if isinstance(message, JSONRPCRequest) and not _is_id(message.id):
        return _refuse(None, INVALID_REQUEST, "The request's id is no valid Unicode, so that no answer can carry it.")
    return Frame(message=message)


def refuse_long_line(start: bytes, limit: int) -> Frame | None:
    """The frame of a line longer than `limit` bytes, of which only the `start` was kept."""
    request_id = _id_in(start.decode("utf-8", "replace"))
    return _refuse(request_id, INVALID_REQUEST, f"The line is longer than {limit:,} bytes, the most that is read.")


def write_frame(message: JSONRPCMessage) -> bytes:
    """The line of a message. One that cannot be written as UTF-8 JSON becomes an error answer to its request."""
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except ValueError:
        log.exception("a message could not be written as JSON")
    if not isinstance(message, JSONRPCResponse | JSONRPCError):
        return b""
    fault = ErrorData(
        code=INTERNAL_ERROR, message="The answer could not be written as JSON; the server's log says why."
    )
    return JSONRPCError(jsonrpc="2.0", id=message.id, error=fault).model_dump_json(exclude_unset=True).encode() + b"\n"


def _parse(text: str) -> Any:
    try:
        return json.loads(text, strict=False, parse_int=_number)
    except RecursionError:
        return json.loads(_flattened(text), strict=False, parse_int=_number)


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_NUMBER else math.inf


def _flattened(text: str) -> str:
    """The text with everything below `DEEPEST` levels replaced by null: no argument of ours is nested at all."""
    kept: list[str] = []
    start = 0
    for depth, token in _brackets(text):
        if depth == DEEPEST + 1 and token.group() in "[{":
            kept.append(text[start : token.start()] + "null")
        elif depth == DEEPEST and token.group() in "]}":
            start = token.end()
    return "".join(kept) + text[start:]


def _id_in(text: str) -> int | str | None:
    """The request's id, as far as it can be seen in text that is no JSON."""
    for depth, token in _brackets(text):
        if depth == 1 and token.group() == '"id"' and (value := _ID.match(text, token.end())):
            found: int | str = json.loads(value[1])
            return found
    return None


def _brackets(text: str) -> Iterator[tuple[int, re.Match[str]]]:
    """Each bracket and each string with the depth after it."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        yield depth, token


def _refuse(request_id: object, code: int, message: str) -> Frame | None:
    log.warning("a bad line on stdin: %s", message)
    if not _is_id(request_id):
        return None
    return Frame(answer=JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=message)))


def _is_id(value: object) -> TypeGuard[int | str]:
    """Whether an answer can carry it."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, int) and not isinstance(value, bool)
