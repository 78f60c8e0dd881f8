"""What a program and a host say to each other: a head, which is JSON, and beside it the texts that are large.

Is: messages to bytes and back, with texts as they are, lone surrogates too. Is not: packets (`packets.py`), or what the
reports look like (`values.py`). Above: `doors/link.py`, and the host's end of it. Below: `text/surrogates.py`,
`text/json_items.py`.

A program says `{"id", "call", "arguments", "texts", ...}` (`texts`: by name of an argument, which part it is) or
`{"cancel": id}`. A host says `{"id", "out": stream, "text"}`, `{"id", "result"}` or `{"id", "error"}`. Of a step, by
the id of the call that runs it, a function of the program is called: the host says `{"id", "call": number, "name",
"arguments"}` or `{"id", "drop": number}`, and the program `{"id", "gave": number, "text" or "error"}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rlm_kernel_mcp import errors
from rlm_kernel_mcp.doors.wire.packets import BadMessage
from rlm_kernel_mcp.errors import CitationMismatch, InternalError, RlmError
from rlm_kernel_mcp.text.json_items import is_crowded
from rlm_kernel_mcp.text.surrogates import CALL_BYTES, pieces_of

LARGE_CHARS: Final = 1 << 14
"""A longer text is a part of its own: the head is read at once, and nobody else is served meanwhile."""
HEAD_BYTES_MAX: Final = 4 << 20
HEAD_ITEMS_MAX: Final = 100_000
"""Commas and brackets of a program's head, outside of its texts: to read more would hold up its host's other clients,
in a thread too."""
TEXT_BYTES_MAX: Final = 256 << 20
"""Of the texts of a call together, as UTF-8; a line of MCP has as many at most."""
CALL_BYTES_MAX: Final = TEXT_BYTES_MAX + HEAD_BYTES_MAX + (1 << 20)
ANSWER_BYTES_MAX: Final = 1 << 28

AT_ONCE_BYTES: Final = 1 << 14
"""A larger message is read where it has its turn. So small a one can have no more items than a head may."""
MARK_BYTES: Final = 64
"""In which a message says what it is, if it is one that is wanted at once."""

Head = dict[str, Any]
_written: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Made once: `json.dumps` makes one for each call with such options, and a call of a function is two messages."""


def packed(head: Mapping[str, Any], texts: Iterable[str] = ()) -> list[bytes]:
    """The parts of a message. Raises: TypeError, ValueError: the head is no JSON."""
    return [_bytes_of(_written(head)), *map(_bytes_of, texts)]


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


async def unpacked(parts: Sequence[bytearray], most_items: int | None = None) -> tuple[Head, list[str]]:
    """The head and the texts; large ones are read in a thread. `most_items`: of a head. Raises: BadMessage."""
    if len(parts[0]) > HEAD_BYTES_MAX:
        raise BadMessage(f"the head of a message may have {HEAD_BYTES_MAX:,} bytes at most")
    if most_items is not None and is_crowded(parts[0], most_items):
        raise BadMessage(f"the head of a message may have {most_items:,} items at most")
    is_small = sum(map(len, parts)) <= CALL_BYTES
    return _read(parts) if is_small else await asyncio.to_thread(_read, parts)


def _read(parts: Sequence[bytearray]) -> tuple[Head, list[str]]:
    try:
        head, *texts = ("".join(pieces_of(part)) for part in parts)
        said = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise BadMessage("what came is no message") from error
    if not isinstance(said, dict):
        raise BadMessage("what came is no message")
    return said, texts


def said_at_once(packet: bytes, mark: bytes) -> Head | None:
    """The head of a small message without texts, whose beginning has a `mark`.

    None: it is another one, or is none at all, which is found out where messages are read in turn.
    """
    if mark not in packet[:MARK_BYTES] or len(packet) > AT_ONCE_BYTES:
        return None
    try:
        return _read([bytearray(packet)])[0]
    except BadMessage:
        return None


def call_of(number: int, call: str, arguments: Mapping[str, Any], **more: Any) -> list[bytes]:
    """A program's call. Raises: TypeError, ValueError: an argument is no JSON."""
    large = [name for name, value in arguments.items() if isinstance(value, str) and len(value) > LARGE_CHARS]
    small = {name: value for name, value in arguments.items() if name not in large}
    head = {"id": number, "call": call, "arguments": small, "texts": {name: at for at, name in enumerate(large)}}
    return packed({**head, **more}, [arguments[name] for name in large])


def arguments_of(head: Head, texts: Sequence[str]) -> dict[str, Any]:
    """What a program's call was given. Raises: BadMessage."""
    small, places = head.get("arguments"), head.get("texts")
    try:
        return {**small, **{name: texts[place] for name, place in places.items()}}  # type: ignore[dict-item, union-attr]
    except (TypeError, AttributeError, IndexError) as error:
        raise BadMessage("what came is no call") from error


def error_said(error: RlmError) -> Head:
    """An error as it travels."""
    kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    said: Head = {"kind": kind, "message": error.message, "next_step": error.next_step}
    return {**said, "citations": error.citations} if isinstance(error, CitationMismatch) else said


def error_heard(said: Head) -> RlmError:
    """The same error at the other end. Raises: KeyError, TypeError: it is none."""
    kind = getattr(errors, said["kind"], InternalError)
    if kind is CitationMismatch:
        return CitationMismatch(said["message"], said["next_step"], said["citations"])
    if not (isinstance(kind, type) and issubclass(kind, RlmError)):
        kind = InternalError
    return kind(said["message"], said["next_step"])
