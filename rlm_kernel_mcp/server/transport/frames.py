"""Turns a line of stdin into JSON-RPC messages, or into the answers to a bad line; and back.

Is: reading what the SDK's own reader drops without a word, so that its sender would wait for ever: lone surrogates,
bytes that are not UTF-8, numbers of thousands of digits, deep nesting, ids of every kind. They are handed on for the
tools to refuse, or refused here under their id. The cost of a line grows with its length and no faster.
Is not: I/O (`reader.py`, `writer.py`), what is still owed an answer (`unanswered.py`), nor any judgement of arguments
(`server/requests.py`). Above: `wire.py`, `lines.py`. Below: `json_text.py`, the SDK's message types.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

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

from rlm_kernel_mcp.front import left
from rlm_kernel_mcp.server.transport.json_text import id_in, is_id, is_unicode, parse

log = logging.getLogger(__name__)

MESSAGE_PARTS: Final = '"jsonrpc": "2.0", a text as "method" and, if any, an object as "params"'
NO_MESSAGE: Final = f"The line is not a JSON-RPC 2.0 message: it needs {MESSAGE_PARTS}."

BATCH_MAX: Final = 1_000
"""Messages of one batch that are served."""
_EXACT: Final = 1 << 53
"""Up to this size, where doubles are exact, a number whose fraction is zero is taken for the whole number."""


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
        body = parse(text)
    except ValueError as error:
        return _refuse(id_in(text), PARSE_ERROR, f"The line is not JSON: {error}")
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
        id=request_id if is_id(request_id) else None,
        error=ErrorData(code=code, message=message),
    )


def refuse_long_line(start: bytes | bytearray, limit: int) -> Frame | None:
    """The frame of a line longer than `limit` bytes, of which only the `start` was kept."""
    request_id = id_in(start.decode("utf-8", "replace"))
    return _refuse(request_id, INVALID_REQUEST, f"The line is longer than {limit:,} bytes, the most that is read.")


def refuse_crowded_line(line: bytes | bytearray, start: bytes, limit: int) -> Frame | None:
    """The frame of a line of more than `limit` items, which is not read: its id is its start's, or its end's."""
    seen = left.id_in_tail(bytes(line[-left.TAIL_BYTES :]))
    request_id = json.loads(seen) if seen else id_in(start.decode("utf-8", "replace"))
    return _refuse(request_id, INVALID_REQUEST, f"The line has more than {limit:,} items, the most that is read.")


def refuse_failed_line(start: bytes | bytearray) -> Frame | None:
    """The frame of a line whose reading failed in this server; the log has the reason."""
    request_id = id_in(start.decode("utf-8", "replace"))
    return _refuse(request_id, INTERNAL_ERROR, "The line could not be read; the server's log says why.")


def refuse_unread_line(rest: bytes) -> Frame | None:
    """The frame of a line whose beginning a host before this one has read, which was then killed."""
    seen = left.id_in_tail(rest[-left.TAIL_BYTES :])
    return _refuse(json.loads(seen) if seen else None, INTERNAL_ERROR, left.UNREAD)


def write_frame(message: JSONRPCMessage) -> bytes:
    """The line of a message. One that cannot be written as UTF-8 JSON becomes an error answer to its request."""
    try:
        # `exclude_unset`: a client of an older protocol may refuse fields that it does not know, even as null.
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
        if not fault and not is_unicode(body.get("method")):
            fault = "The request's method is not valid Unicode."
        if fault:
            log.warning("a bad request on stdin: %s", fault)
            # An id that is not Unicode cannot be sent back, so no answer would reach anyone; any other is waited for.
            return None if not is_unicode(body["id"]) else Frame(answer=refuse(body["id"], INVALID_REQUEST, fault))
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
    if isinstance(value, int | str) and is_id(value):
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


def _refuse(request_id: object, code: int, message: str) -> Frame | None:
    log.warning("a bad line on stdin: %s", message)
    return Frame(answer=refuse(request_id, code, message)) if is_id(request_id) else None
