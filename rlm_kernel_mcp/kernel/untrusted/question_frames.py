"""What a kernel's code asks, frame by frame: bytes become questions that lie within their bounds. Sans-I/O.

Is: the reading of the frames that `questions_wire.py` names. Is not: the socket, nor who answers (`session/asking/`).
Anything else than such a frame raises, and ends the kernel: a well-behaved one sends nothing else.
Above: `session/asking/channel.py`. Below: `questions_wire.py`, `text/json_items.py`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from rlm_kernel_mcp.questions_wire import (
    BATCH_MAX,
    CONTEXT_CHARS_MAX,
    DIGEST_CHARS,
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    FUNCTION_NAME_CHARS_MAX,
    ID_MAX,
    ITEM_CHARS_MAX,
    KINDS,
    LENGTH_BYTES,
    MODEL_CHARS_MAX,
    REPAIR_CHARS_MAX,
    SCHEMA_CHARS_MAX,
    STEP_CHARS_MAX,
    Kind,
)
from rlm_kernel_mcp.text.json_items import is_crowded

ITEMS_MAX: Final = 4 * BATCH_MAX
"""Commas and brackets of a frame, outside of its texts: a forecast has three for each question. Of more none is read,
also where they stand in what nobody looks at: the reading itself would hold up every other session."""
_read: Final = json.JSONDecoder().decode
_DIGEST: Final = re.compile(f"[0-9a-f]{{{DIGEST_CHARS}}}")


class FramesBroken(Exception):
    """The kernel sent what is no frame."""


class Wishes(NamedTuple):
    """How the questions of a frame are to be answered."""

    batch: int
    schema: str | None
    model: str | None
    fresh: bool
    kind: Kind = "llm"
    of: int = 1


class Item(NamedTuple):
    """One question. How many characters it has is not checked here."""

    id: int
    prompt: str
    text: str | None
    repair: str | None
    size: int
    """Bytes that both texts take in this process: up to four a character, of which UTF-8 has one."""
    coming: int = 0
    """Characters of a text that is not here yet, as the kernel says; 0: there is none."""

    @property
    def chars(self) -> int:
        return len(self.prompt) + len(self.text or "") + self.coming


class Ask(NamedTuple):
    step: str
    wishes: Wishes
    items: tuple[Item, ...]
    more: bool = False
    """Whether another frame of the same call is to come."""


@dataclass(frozen=True, slots=True)
class Cancel:
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Missed:
    """`id`: of what is told; `ids`: of the questions."""

    id: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """`why`: what is wrong with the answer on trial of a question; None: nothing."""

    id: int
    why: str | None


@dataclass(frozen=True, slots=True)
class BudgetAsked:
    id: int


@dataclass(frozen=True, slots=True)
class ForecastAsked:
    """`items`: digest and bytes of each question."""

    id: int
    step: str
    wishes: Wishes
    items: tuple[tuple[str, int], ...]


Frame = Ask | Cancel | Looked | Missed | BudgetAsked | ForecastAsked


class QuestionReader:
    """Turns bytes into frames; holds no more than one frame and what came with its end."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._last_id = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take what arrived."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None when more bytes are needed.

        Raises:
            FramesBroken: the kernel sent something else.
        """
        buffer = self._buffer
        if len(buffer) < LENGTH_BYTES:
            return None
        size = int.from_bytes(buffer[:LENGTH_BYTES], "big")
        if size > FRAME_BYTES_MAX:  # before any of it has come
            raise FramesBroken(f"a frame of {size:,} bytes, of which it may have {FRAME_BYTES_MAX:,}")
        if len(buffer) < LENGTH_BYTES + size:
            return None
        data = bytes(memoryview(buffer)[LENGTH_BYTES : LENGTH_BYTES + size])
        del buffer[: LENGTH_BYTES + size]
        if is_crowded(data, ITEMS_MAX):
            raise FramesBroken(f"a frame of more than {ITEMS_MAX:,} items")
        try:
            return self._frame(_read(data.decode()))
        except RecursionError:
            raise FramesBroken("a frame that is nested too deep") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise FramesBroken("what is no frame") from None

    def _frame(self, frame: dict[str, Any]) -> Frame:
        if type(frame) is not dict or len(frame) != 1:
            raise ValueError
        ((kind, said),) = frame.items()
        if kind == "ask":
            step, more = _text(said["step"], STEP_CHARS_MAX), said.get("more", False)
            asked = Ask(step, _wishes(said["opts"]), self._items(said["items"]), _flag(more))
            if asked.wishes.kind != "rlm" and any(item.coming for item in asked.items):
                raise ValueError
            return _call(asked) if asked.wishes.kind == "function" else asked
        if kind == "cancel":
            return Cancel(_ids(said))
        if kind == "looked":
            number, why = said
            (number,) = _ids([number])
            return Looked(number, _optional(why, REPAIR_CHARS_MAX))
        if kind == "missed":
            return Missed(self._new_id(said["id"]), _ids(said["of"]))
        if kind == "budget":
            return BudgetAsked(self._new_id(said))
        if kind == "forecast":
            number, step = self._new_id(said["id"]), _text(said["step"], STEP_CHARS_MAX)
            return ForecastAsked(number, step, _wishes(said["opts"]), _sketches(said["items"]))
        raise ValueError

    def _items(self, rows: list[list[Any]]) -> tuple[Item, ...]:
        if not 0 < len(rows) <= FRAME_ITEMS_MAX:
            raise ValueError
        return tuple(map(self._item, rows))

    def _item(self, row: list[Any]) -> Item:
        if type(row) is not list or not 3 <= len(row) <= 5:
            raise ValueError
        prompt, text, repair = row[1], row[2], row[3] if len(row) > 3 else None
        coming = _coming(row[4], text, repair) if len(row) > 4 else 0
        if type(prompt) is not str or not (text is None or type(text) is str):
            raise TypeError
        for said in (prompt, text or ""):
            said.encode()  # a lone surrogate raises
        size = sys.getsizeof(prompt) + sys.getsizeof(text)
        return Item(self._new_id(row[0]), prompt, text, _optional(repair, REPAIR_CHARS_MAX), size, coming)

    def _new_id(self, number: object) -> int:
        if type(number) is not int or not self._last_id < number <= ID_MAX:
            raise ValueError
        self._last_id = number
        return number


def _call(asked: Ask) -> Ask:
    """The same, of calls of functions. Their arguments are looked at where it is known who asks (`values.py`)."""
    wishes = asked.wishes
    if wishes.schema is not None or wishes.model is not None or wishes.fresh:
        raise ValueError
    for item in asked.items:
        if not item.prompt.isidentifier() or len(item.prompt) > FUNCTION_NAME_CHARS_MAX:
            raise ValueError
        if item.text is None or item.repair is not None:
            raise ValueError
    return asked


def _coming(chars: object, text: object, repair: object) -> int:
    """How long a text is said to be that comes later. It is counted as it comes."""
    if type(chars) is not int or not ITEM_CHARS_MAX < chars <= CONTEXT_CHARS_MAX:
        raise ValueError
    if text is not None or repair is not None:
        raise ValueError
    return chars


def _ids(numbers: list[Any]) -> tuple[int, ...]:
    """Of questions that were asked, or never came: an interrupt may have ended the asking before they were sent."""
    if not 0 < len(numbers) <= BATCH_MAX or not all(type(one) is int and 0 < one <= ID_MAX for one in numbers):
        raise ValueError
    return tuple(numbers)


def _wishes(opts: dict[str, Any]) -> Wishes:
    batch, fresh = opts["batch"], _flag(opts.get("fresh", False))
    if type(batch) is not int or not 0 <= batch <= ID_MAX:
        raise ValueError
    schema, model = _optional(opts.get("schema"), SCHEMA_CHARS_MAX), _optional(opts.get("model"), MODEL_CHARS_MAX)
    of = opts.get("of", 1)
    if type(of) is not int or not 0 < of <= BATCH_MAX:
        raise ValueError
    return Wishes(batch, schema, model, fresh, _kind(opts.get("kind", "llm")), of)


def _kind(said: object) -> Kind:
    for kind in KINDS:
        if said == kind:
            return kind
    raise ValueError


def _sketches(rows: list[list[Any]]) -> tuple[tuple[str, int], ...]:
    if len(rows) > BATCH_MAX:
        raise ValueError
    return tuple(_sketch(*row) for row in rows)


def _sketch(digest: str, size: int) -> tuple[str, int]:
    if not _DIGEST.fullmatch(digest):  # what is no text raises
        raise ValueError
    if type(size) is not int or not 0 <= size <= ID_MAX:
        raise ValueError
    return digest, size


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _optional(text: object, most: int) -> str | None:
    return None if text is None else _text(text, most)


def _text(text: object, most: int) -> str:
    if type(text) is not str or len(text) > most:
        raise ValueError
    text.encode()  # a lone surrogate raises
    return text
