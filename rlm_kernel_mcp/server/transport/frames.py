"""Turns a line of stdin into JSON-RPC messages, or into the answers to a bad line; and back.

Is: reading what the SDK's own reader drops without a word, so that its sender would wait for ever: lone surrogates,
bytes that are not UTF-8, numbers of thousands of digits, deep nesting, ids of every kind. They are handed on for the
tools to refuse, or refused here under their id. The cost of a line grows with its length and no faster.
Is not: I/O (`stdio.py`), what is still owed an answer (`owed.py`), nor any judgement of arguments
(`server/requests.py`). Above: `stdio.py`. Below: the SDK's message types.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeGuard

from mcp.types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

log = logging.getLogger(__name__)

DEEPEST: Final = 64
"""Levels of nesting that are kept of a message nested too deep to be parsed."""
LOOKED_AT: Final = 50_000
"""Brackets and strings that are looked at in a line that the parser does not take: some 30 ms."""

MESSAGE_PARTS: Final = '"jsonrpc": "2.0", a text as "method" and, if any, an object as "params"'
NO_MESSAGE: Final = f"The line is not a JSON-RPC 2.0 message: it needs {MESSAGE_PARTS}."

LONGEST_NUMBER: Final = 1_000
"""Digits of a whole number that is read exactly; a longer one is beyond every bound and read as infinite."""
BATCH_MAX: Final = 1_000
"""Messages of one batch that are served."""
_EXACT: Final = 1 << 53
"""Up to this size a number with a fraction of zero is taken for the whole number that it stands for."""

# A string that does not end is one token too, to the end of the text: else each quote in it would be tried again.
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]++|[\]}]++', re.DOTALL)
_ID: Final = re.compile(r'\s*:\s*(-?[0-9]{1,18}(?:\.[0-9]{1,18})?|"(?:[^"\\\x00-\x1f]|\\.){0,200}")\s*[,}]')


class Refusal(JSONRPCError):
    """An error answer, whose id may be a number with a fraction: JSON-RPC allows that, and its sender waits for it."""

    id: int | float | str | None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a line came to: a message for the server, an answer that goes straight back, or a batch of such frames."""

    message: JSONRPCMessage | None = None
    answer: Refusal | None = None
    batch: tuple[Frame, ...] | None = None
    size: int = 0
    """Bytes of the line."""


def read_frame(line: bytes | bytearray) -> Frame | None:
    """The frame of a line; None where it is blank, or bad with nobody to tell but the log."""
    # surrogateescape: a byte that is not UTF-8 stays visible as a lone surrogate, for the tool to refuse by place.
    text = line.decode("utf-8", "surrogateescape").removeprefix("\ufeff")  # a mark that tools of Windows begin with
    if not text.strip():
        return None
    try:
        body = _parse(text)
    except ValueError as error:
        return _refuse(_id_in(text), PARSE_ERROR, f"The line is not JSON: {error}")
    if not isinstance(body, list):
        return _frame_of(body)
    if not body:
        return Frame(answer=refuse(None, INVALID_REQUEST, "The batch is empty."))
    if len(body) > BATCH_MAX:
        fault = f"The batch has {len(body):,} messages; at most {BATCH_MAX:,} are taken at once."
        frames = [*_refusals(body, fault)]
    else:
        fault = "No message in the batch has an id."
        frames = [frame for item in body for frame in _frames_of_item(item)]
    if all(frame.answer is not None and frame.answer.id is None for frame in frames):
        return _refuse(None, INVALID_REQUEST, fault)
    return Frame(batch=tuple(frames))


def refuse(request_id: object, code: int, message: str) -> Refusal:
    """An error answer; its id is null where no answer could carry it."""
    return Refusal(
        jsonrpc="2.0",
        id=request_id if _is_id(request_id) else None,
        error=ErrorData(code=code, message=message),
    )


def refuse_long_line(start: bytes | bytearray, limit: int) -> Frame | None:
    """The frame of a line longer than `limit` bytes, of which only the `start` was kept."""
    request_id = _id_in(start.decode("utf-8", "replace"))
    return _refuse(request_id, INVALID_REQUEST, f"The line is longer than {limit:,} bytes, the most that is read.")


def refuse_failed_line(start: bytes | bytearray) -> Frame | None:
    """The frame of a line whose reading failed in this server; the log has the reason."""
    request_id = _id_in(start.decode("utf-8", "replace"))
    return _refuse(request_id, INTERNAL_ERROR, "The line could not be read; the server's log says why.")


def write_frame(message: JSONRPCMessage) -> bytes:
    """The line of a message. One that cannot be written as UTF-8 JSON becomes an error answer to its request."""
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except ValueError:
        log.exception("a message could not be written as JSON")
    if not isinstance(message, JSONRPCResponse | JSONRPCError):
        return b""
    fault = refuse(message.id, INTERNAL_ERROR, "The answer could not be written as JSON; the server's log says why.")
    return fault.model_dump_json(exclude_unset=True).encode() + b"\n"


def write_batch(messages: list[JSONRPCMessage]) -> bytes:
    """The one line of a batch's answers."""
    return b"[" + b",".join(write_frame(message).rstrip(b"\n") for message in messages) + b"]\n"


def _frame_of(body: Any) -> Frame | None:
    """The frame of one JSON value that is not a list."""
    if not isinstance(body, dict) or not {"method", "id", "result", "error"} & body.keys():
        return _refuse(None, INVALID_REQUEST, NO_MESSAGE)
    try:
        if "method" not in body and ("result" in body or "error" in body):
            return Frame(message=jsonrpc_message_adapter.validate_python(body, by_name=False))
        if not _asks(body):
            return Frame(message=JSONRPCNotification.model_validate(_with_whole_id(body), by_name=False))
        fault, body["id"] = _checked_id(body["id"])
        if not fault and not _is_unicode(body.get("method")):
            fault = "The request's method is not valid Unicode."
        if fault:
            log.warning("a bad request on stdin: %s", fault)
            # An id that is not Unicode cannot be sent back, so no answer would reach anyone; any other is waited for.
            return None if not _is_unicode(body["id"]) else Frame(answer=refuse(body["id"], INVALID_REQUEST, fault))
        return Frame(message=JSONRPCRequest.model_validate(body, by_name=False))
    except ValidationError:
        request_id = body.get("id") if "method" in body or not {"result", "error"} & body.keys() else None
        return _refuse(request_id, INVALID_REQUEST, NO_MESSAGE)


def _asks(body: dict[str, Any]) -> bool:
    """Whether somebody waits for an answer. Some clients write the id of a notification as null."""
    if body.get("id", ...) is None and isinstance(body.get("method"), str):
        return not body["method"].startswith("notifications/")
    return "id" in body


def _with_whole_id(body: dict[str, Any]) -> dict[str, Any]:
    """The notification with the id of the request that it cancels as that request's own was read: 7.0 is 7."""
    params = body.get("params")
    if isinstance(params, dict) and "requestId" in params:
        body["params"] = {**params, "requestId": _whole(params["requestId"])}
    return body


def _whole(value: object) -> object:
    """A number whose fraction is zero, as the whole number that it stands for."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value


def _checked_id(value: object) -> tuple[str, object]:
    """What is wrong with a request's id, if anything; and the id, as its answer carries it."""
    value = _whole(value)
    if isinstance(value, int | str) and _is_id(value):
        return "", value
    if isinstance(value, float) and math.isfinite(value):
        return f"The request's id is {value}; it must be a text or a whole number.", value
    if isinstance(value, str):
        return "The request's id is not valid Unicode, so that no answer can carry it.", value
    kinds = {"NoneType": "null", "bool": "a boolean", "dict": "an object", "list": "a list"}
    kind = kinds.get(type(value).__name__, "a number beyond all bounds")
    return f"The request's id is {kind}; it must be a text or a whole number.", None


def _frames_of_item(item: Any) -> Iterator[Frame]:
    """What one item of a batch comes to; an item that is not a message is refused, under each id that is in it."""
    if isinstance(item, list):
        yield from _refusals(item, "A batch has messages in it, and no other batch.")
        return
    frame = _frame_of(item)
    if frame is not None:
        yield frame
    elif not (isinstance(item, dict) and {"result", "error"} & item.keys()):
        yield Frame(
            answer=refuse(None, INVALID_REQUEST, f"An item of the batch is not a message: it needs {MESSAGE_PARTS}.")
        )


def _refusals(items: list[Any], fault: str) -> Iterator[Frame]:
    """A refusal for each id in a list that is not served as a batch; one without an id, if there is none."""
    found = list(_ids_below(items))
    for request_id in found or [None]:
        yield Frame(answer=refuse(request_id, INVALID_REQUEST, fault))


def _ids_below(items: list[Any]) -> Iterator[object]:
    """The ids of what asks for an answer, at any depth of lists."""
    left = [items]
    while left:
        for item in left.pop():
            if isinstance(item, list):
                left.append(item)
            elif isinstance(item, dict) and "id" in item and not ({"result", "error"} & item.keys()):
                yield _checked_id(item["id"])[1]


def _parse(text: str) -> Any:
    try:
        return json.loads(text, strict=False, parse_int=_number)
    except RecursionError:
        return json.loads(_flattened(text), strict=False, parse_int=_number)


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_NUMBER else math.inf


def _flattened(text: str) -> str:
    """The text with everything below `DEEPEST` levels replaced by null: no argument of ours is nested at all.

    Raises:
        ValueError: it has more brackets and strings than are looked at.
    """
    kept: list[str] = []
    start = depth = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        if count == LOOKED_AT:
            raise ValueError(f"it is nested too deep, and has more than {LOOKED_AT:,} brackets and strings")
        step = _step(token)
        if depth <= DEEPEST < depth + step:
            kept.append(text[start : token.start() + DEEPEST - depth] + "null")
        elif depth + step <= DEEPEST < depth:
            start = token.end() - (DEEPEST - depth - step)
        depth += step
    return "".join(kept) + (text[start:] if depth <= DEEPEST else "")


def _id_in(text: str) -> int | float | str | None:
    """The request's id, as far as it can be seen in text that is not JSON."""
    depth = 0
    for token in islice(_TOKEN.finditer(text), LOOKED_AT):
        depth += _step(token)
        if depth == 1 and token.group() == '"id"' and (value := _ID.match(text, token.end())):
            return _seen_id(value[1])
    return None


def _seen_id(text: str) -> int | float | str | None:
    """`01` is the number that its writer meant, though it is not JSON."""
    if text[0] != '"':
        return float(text) if "." in text else int(text)
    try:
        found = json.loads(text, strict=False)
    except ValueError:
        return None
    return found if isinstance(found, str) and _is_id(found) else None


def _step(token: re.Match[str]) -> int:
    """By how much a run of brackets, or a string, changes the depth."""
    first = token.string[token.start()]
    length = token.end() - token.start()
    return length if first in "[{" else -length if first in "]}" else 0


def _refuse(request_id: object, code: int, message: str) -> Frame | None:
    log.warning("a bad line on stdin: %s", message)
    return Frame(answer=refuse(request_id, code, message)) if _is_id(request_id) else None


def _is_id(value: object) -> TypeGuard[int | float | str]:
    """Whether an answer can carry it."""
    if isinstance(value, str):
        return _is_unicode(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_unicode(value: object) -> bool:
    """Whether a text has no lone surrogate in it."""
    return not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value)
