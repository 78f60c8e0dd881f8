"""The session layer's reports as JSON, and back: whatever their fields say that they are.

Is: a pair of functions for each kind of value, made from the annotations. Is not: a check: who reads trusts whoever
wrote to have the same package. Above: `doors/link.py`, and the host's end of it. Below: `messages.py`.

A text that is large stands beside the JSON, and its place in it: so does JSON that is the value of a variable, which is
a text here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

from rlm_kernel_mcp.doors.wire.messages import LARGE_CHARS

HIDDEN: Final = {"Held": str}
"""Names of annotations that are imported for type checkers alone."""


class Codec(NamedTuple):
    """How values of one kind travel."""

    write: Callable[[Any, list[str]], Any]
    """To JSON; what is large is added to the texts."""
    read: Callable[[Any, Sequence[str]], Any]


def _write_text(value: str, texts: list[str]) -> Any:
    if len(value) <= LARGE_CHARS:
        return value
    texts.append(value)
    return [len(texts) - 1]


def _read_text(said: Any, texts: Sequence[str]) -> str:
    return said if isinstance(said, str) else texts[said[0]]


_PLAIN: Final = Codec(lambda value, _: value, lambda said, _: said)
_TEXT: Final = Codec(_write_text, _read_text)


def _write_any(value: Any, texts: list[str]) -> Any:
    """Text as it is, anything else as a text of JSON: a large one is not read while the head is."""
    if isinstance(value, str):
        return {"text": _write_text(value, texts)}
    return {"json": _write_text(json.dumps(value, ensure_ascii=False), texts)}


def _read_any(said: Any, texts: Sequence[str]) -> Any:
    return _read_text(said["text"], texts) if "text" in said else json.loads(_read_text(said["json"], texts))


_ANY: Final = Codec(_write_any, _read_any)


@cache
def codec(kind: Any) -> Codec:
    """That of a kind, as an annotation says it."""
    if kind is str or kind is Any:
        return _TEXT if kind is str else _ANY
    if is_dataclass(kind):
        return _of_class(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _of_choice([one for one in inner if one is not NoneType])
    return _of_several(origin, inner) if origin in (tuple, list, dict) else _PLAIN


def _of_several(origin: Any, inner: Sequence[Any]) -> Codec:
    if origin is dict:
        return _of_names(codec(inner[1]))
    if origin is tuple and inner[-1] is not Ellipsis:
        return _of_row([codec(one) for one in inner])
    return _of_many(codec(inner[0]), origin)


def _of_class(kind: Any) -> Codec:
    hints = get_type_hints(kind, localns=HIDDEN)
    parts = [(one.name, codec(hints[one.name])) for one in fields(kind)]

    def write(value: Any, texts: list[str]) -> Any:
        return [part.write(getattr(value, name), texts) for name, part in parts]

    def read(said: Any, texts: Sequence[str]) -> Any:
        return kind(**{name: part.read(one, texts) for (name, part), one in zip(parts, said, strict=True)})

    return Codec(write, read)


def _of_choice(kinds: list[Any]) -> Codec:
    """One of several classes, which is named; one other kind; or numbers and such: or None in each case."""
    named: dict[str, Codec] = {one.__name__: codec(one) for one in kinds if isinstance(one, type) and is_dataclass(one)}
    if len(named) < 2:
        part = codec(kinds[0]) if len(kinds) == 1 else _PLAIN
        return Codec(
            lambda value, texts: None if value is None else part.write(value, texts),
            lambda said, texts: None if said is None else part.read(said, texts),
        )
    return Codec(
        lambda value, texts: None if value is None else [(n := type(value).__name__), named[n].write(value, texts)],
        lambda said, texts: None if said is None else named[said[0]].read(said[1], texts),
    )


def _of_row(parts: Sequence[Codec]) -> Codec:
    return Codec(
        lambda value, texts: [part.write(one, texts) for part, one in zip(parts, value, strict=True)],
        lambda said, texts: tuple(part.read(one, texts) for part, one in zip(parts, said, strict=True)),
    )


def _of_many(part: Codec, kind: Callable[[Any], Any]) -> Codec:
    return Codec(
        lambda value, texts: [part.write(one, texts) for one in value],
        lambda said, texts: kind(part.read(one, texts) for one in said),
    )


def _of_names(part: Codec) -> Codec:
    return Codec(
        lambda value, texts: {name: part.write(one, texts) for name, one in value.items()},
        lambda said, texts: {name: part.read(one, texts) for name, one in said.items()},
    )
