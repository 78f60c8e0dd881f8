"""What a loader says, checked: it reads hostile bytes, so its words may be theirs.

Is: sans-I/O; each answer for its type, size and sense, against what the host knows by itself. Is not: waiting.
Above: `client.py`. Below: `context_wire.py`.

What cannot be checked here is a loader's word: how a file is encoded, its counts, and the hash. A loader knows one
context and nothing else, so a false word harms the session whose file made it false, and no other.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.context_wire import (
    BLOCK_BYTES,
    INDEX_ROWS,
    JSON_REASONS,
    LAYOUTS,
    REASONS,
    WIDTHS,
    WORDS_CHARS,
    Layout,
)

ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
ROW_BYTES: Final = 16
ERRNO_MAX: Final = 4_095


class Unbelievable(ValueError):
    """An answer that no loader gives which is what it should be."""


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file that is a document now; as `context_wire.Read`."""

    byte_count: int
    encoding: str
    bad_bytes: int
    chars: int
    line_ends: int
    is_open: bool
    layout: Layout

    @property
    def is_laid(self) -> bool:
        """Whether its bytes as they are, are its characters."""
        return self.encoding == "latin-1" or (
            self.layout == "ascii" and self.encoding == "utf-8" and self.chars == self.byte_count
        )

    @property
    def index_rows(self) -> int:
        """Rows of the index that it has: one between two blocks."""
        return max(0, self.byte_count - 1) // BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class FileRefused:
    """A file that is none; as `context_wire.Refused`."""

    reason: str
    at: int
    made: int
    errno: int


def progress(data: bytes) -> tuple[int, int] | None:
    """Bytes read and bytes made, where the datagram is a loader's progress."""
    if not data.startswith(b'{"progress"'):
        return None
    read, made = _list(_key(data, "progress"), 2)
    return _count(read), _count(made)


def files(data: bytes, count: int, text_bytes: int) -> list[FileRead | FileRefused]:
    """The answer to `count` files, which together may have `text_bytes`."""
    rows: list[FileRead | FileRefused] = []
    left = text_bytes
    for row in _list(_key(data, "files"), count):
        if not isinstance(row, dict):
            raise Unbelievable("a row is no object")
        if "refused" in row:
            reason = _one_of(row["refused"], REASONS)
            rows.append(
                FileRefused(reason, _count(row.get("at")), _count(row.get("made")), _count(row.get("errno"), ERRNO_MAX))
            )
            continue
        read = _read(row, left)
        left -= read.byte_count
        rows.append(read)
    return rows


def _read(row: dict[str, Any], byte_max: int) -> FileRead:
    byte_count = _count(row.get("bytes"), byte_max)
    read = FileRead(
        byte_count,
        _one_of(row.get("encoding"), ENCODINGS),
        _count(row.get("bad_bytes"), byte_count),
        _count(row.get("chars"), byte_count),
        _count(row.get("lines"), byte_count),
        row.get("open") is True,
        _layout(row.get("layout")),
    )
    if read.line_ends + read.is_open > read.chars or (read.encoding == "latin-1" and read.chars != byte_count):
        raise Unbelievable("the counts of a document do not agree")
    return read


def begun(data: bytes) -> None:
    """The answer to the limits."""
    if _key(data, "begun") is not True:
        raise Unbelievable("it did not begin")


def finished(data: bytes, documents: Sequence[FileRead], *, hashed: bool) -> str | None:
    """The hash over all documents, where it was asked for; the sums beside it must be those of the documents."""
    finished = _key(data, "finished")
    if not isinstance(finished, dict):
        raise Unbelievable("the end of all files is no object")
    digest = _sha256(finished.get("sha256")) if hashed else None
    expected = (
        sum(one.byte_count for one in documents),
        sum(one.chars for one in documents),
        layout_of(documents),
        is_laid(documents),
    )
    if tuple(finished.get(key) for key in ("bytes", "chars", "layout", "mapped")) != expected:
        raise Unbelievable("the whole is not the sum of its documents")
    return digest


def hashed(data: bytes) -> str | None:
    """The hash of a file; None where it is shorter than was said."""
    digest = _key(data, "hashed")
    return None if digest == "" else _sha256(digest)


def layout_of(documents: Sequence[FileRead]) -> Layout:
    """The narrowest layout that all documents fit."""
    return LAYOUTS[max((LAYOUTS.index(one.layout) for one in documents), default=0)]


def is_laid(documents: Sequence[FileRead]) -> bool:
    """Whether the bytes of all documents, as they are, are the characters in that layout."""
    return all(one.is_laid for one in documents)


def spooled(data: bytes, chars: int, layout: Layout) -> int:
    """The answer to the writing of the spool, whose size follows from the characters: 0, or why it was not written."""
    if (number := _count(_key(data, "errno"), ERRNO_MAX)) != 0:
        return number
    if _count(_key(data, "spooled")) != chars * WIDTHS[layout]:
        raise Unbelievable("the spool has another size than its characters")
    return 0


@dataclass(frozen=True, slots=True)
class ValueRefused:
    """A JSON text without a value; as `context_wire.Written`. `words` are the loader's."""

    reason: str
    words: str
    errno: int


def value(data: bytes, file_bytes: int) -> int | ValueRefused:
    """The answer to a JSON text: the size of its value, which is in a file of `file_bytes` at most."""
    said = _key(data, "json")
    if not isinstance(said, dict):
        raise Unbelievable("it is no object")
    if said.get("refused"):
        words = said.get("words")
        if not isinstance(words, str):
            raise Unbelievable("there are no words")
        reason = _one_of(said["refused"], JSON_REASONS)
        return ValueRefused(reason, words[:WORDS_CHARS], _count(said.get("errno"), ERRNO_MAX))
    return _count(said.get("bytes"), file_bytes)


def index_rows(data: bytes, count: int) -> array[int]:
    """Up to `INDEX_ROWS` rows of the index; `context/loader/index.py` looks at the numbers."""
    if len(data) != min(count, INDEX_ROWS) * ROW_BYTES:
        raise Unbelievable("the index has another length")
    rows = array("Q")
    rows.frombytes(data)
    return rows


def _key(data: bytes, key: str) -> Any:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unbelievable("no JSON") from error
    if not isinstance(said, dict) or key not in said:
        raise Unbelievable(f"no answer of the kind {key!r}")
    return said[key]


def _list(value: Any, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise Unbelievable("a list of another length")
    return value


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise Unbelievable("there is no hash")
    return value


def _count(value: Any, most: int = (1 << 63) - 1) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise Unbelievable("a number that cannot be")
    return value


def _layout(value: Any) -> Layout:
    _one_of(value, LAYOUTS)
    return next(layout for layout in LAYOUTS if layout == value)


def _one_of(value: Any, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise Unbelievable("a word that is not known")
    return value
