"""Rows of the store as they are read back: whole, or known to be damaged.

Is: the checksums of a row, and for rows of a version that had none, a check of what is in them. Is not: the file's own
damage (`damage.py`), nor a row's meaning. Above: `store/store.py`, `records.py`. Below: sqlite3's values.

SQLite keeps no checksum of its pages and takes any type in any column. A changed byte in a text is still a text: only
a checksum of ours tells.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from rlm_kernel_mcp.text.surrogates import decoded

_INTEGER_MAX: Final = 1 << 63
_OBJECTS: Final = frozenset({"limits", "context", "context_ref", "counters", "guardrail_snapshot", "error"})
"""Columns that hold a JSON object."""
_COUNTS: Final = frozenset({"limits", "counters", "guardrail_snapshot"})
"""Those of them whose values are all counts."""
_TIMES: Final = frozenset({"created_at", "last_used_at", "ts", "finished_at"})

T = TypeVar("T")


class Rows(list[T]):
    """Rows of the store; `damaged`: how many more were left out, since they are not what was written."""

    def __init__(self, rows: Iterable[T] = (), damaged: int = 0) -> None:
        super().__init__(rows)
        self.damaged = damaged


class DamagedText(str):
    """A text of the file that is not UTF-8."""

    __slots__ = ()


def text_of(raw: bytes) -> str:
    """A text as SQLite has it: the connections' `text_factory`. Never raises: one bad text is one bad row."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return DamagedText(raw.decode(errors="replace"))


def check_of(values: Iterable[Any]) -> int:
    """The checksum of some values of a row."""
    # The type and the length go in too, so that no two different rows look the same. For the commonest types
    # the text is put together here: each step has a hundred such values.
    parts: list[str] = []
    for value in values:
        if value is None:
            parts.append("N0:")
        elif type(value) is str and value.isascii():
            parts.append(f"s{len(value)}:{value}")
        elif type(value) is int:
            digits = str(value)
            parts.append(f"i{len(digits)}:{digits}")
        else:
            text = str(value)
            parts.append(f"{type(value).__name__[0]}{len(_encoded(text))}:{text}")
    return zlib.crc32(_encoded("".join(parts)))


def texts_check(texts: Iterable[str | bytes | None]) -> int:
    """The checksum of an event's texts, in the order of its columns; also of their bytes in UTF-8."""
    return check_of(None if text is None else zlib.crc32(_encoded(text)) for text in texts)


def to_sqlite(values: Iterable[Any]) -> list[Any]:
    """Values as SQLite can hold them: a text with lone surrogates, which it refuses, becomes bytes."""
    return [
        _held_text(value) if isinstance(value, str) and not value.isascii() else value  # most values need no change
        for value in values
    ]


def from_sqlite(value: Any) -> Any:
    """A value as it was before `to_sqlite`. Raises: UnicodeDecodeError."""
    return decoded(value) if isinstance(value, bytes) else value


def values_of(row: Sequence[Any]) -> list[Any] | None:
    """The values of a row as they were written; None if one of them is not a text of ours."""
    if any(isinstance(value, DamagedText) for value in row):
        return None
    try:
        return [from_sqlite(value) for value in row]
    except UnicodeDecodeError:
        return None


def is_as_declared(columns: dict[str, Any], declared: dict[str, str]) -> bool:
    """Whether the values of a row without a checksum are what their columns are meant to hold.

    Args:
        columns: value by column.
        declared: type by column, as the dataclass spells it.
    """
    return all(_is_right(name, value, declared[name]) for name, value in columns.items())


def _is_right(name: str, value: Any, declared: str) -> bool:
    if value is None:
        return declared.endswith("None")
    if declared.startswith("int"):
        return type(value) is int and 0 <= value < _INTEGER_MAX
    if type(value) is not str:
        return False
    if name in _TIMES:
        return _is_time(value)
    return name not in _OBJECTS or _is_object(value, counts=name in _COUNTS)


def _is_time(text: str) -> bool:
    try:
        return not text or datetime.fromisoformat(text) is not None
    except ValueError:
        return False


def _is_object(text: str, *, counts: bool) -> bool:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and (not counts or all(type(value) is int for value in found.values()))


def _held_text(text: str) -> str | bytes:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode("utf-8", "surrogatepass")
