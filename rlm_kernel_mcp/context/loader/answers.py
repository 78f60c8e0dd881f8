"""Checks a loader's answers: it reads hostile bytes, which may have taken it over.

Is: sans-I/O; checks the type, size and sense of each answer against what the host knows on its own. Is not: waiting.
Above: `client.py`. Below: `context_wire.py`.

What cannot be checked here is taken on a loader's word: how a file is encoded, its counts, and the hash. A loader
knows one context and nothing else, so a lie harms the session whose own file caused it, and no other.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.both_sides.text_encoding import LOOKS
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
_UTF_8_MARKS: Final = {"utf-8": 0, "utf-8-sig": 3}
"""Bytes of the mark before the first character."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
ROW_BYTES: Final = 16
ERRNO_MAX: Final = 4_095


class ImpossibleAnswer(ValueError):
    """An answer that a correct loader never gives."""


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file that became a document. See `context_wire.Read`."""

    byte_count: int
    encoding: str
    bad_bytes: int
    chars: int
    line_ends: int
    is_open: bool
    layout: Layout
    looks: str = ""

    @property
    def is_mappable(self) -> bool:
        """Whether its bytes are its characters just as Python has them in memory."""
        return self.encoding == "latin-1" or (
            self.layout == "ascii" and self.encoding == "utf-8" and self.chars == self.byte_count
        )

    @property
    def index_rows(self) -> int:
        """The number of its rows in the index: one for each border between two blocks."""
        return max(0, self.byte_count - 1) // BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class FileRefused:
    """A file that did not become a document. See `context_wire.Refused`."""

    reason: str
    at: int
    made: int
    errno: int
    looks: str = ""


def progress(data: bytes) -> tuple[int, int] | None:
    """Bytes read and bytes of text made, if the datagram reports progress."""
    if not data.startswith(b'{"progress"'):
        return None
    read, made = _list(_key(data, "progress"), 2)
    return _count(read), _count(made)


def files(data: bytes, count: int, text_bytes: int) -> list[FileRead | FileRefused]:
    """The answer to `count` files, which may have `text_bytes` altogether."""
    rows: list[FileRead | FileRefused] = []
    left = text_bytes
    for row in _list(_key(data, "files"), count):
        if not isinstance(row, dict):
            raise ImpossibleAnswer("a row is not an object")
        if "refused" in row:
            reason = _one_of(row["refused"], REASONS)
            numbers = _count(row.get("at")), _count(row.get("made")), _count(row.get("errno"), ERRNO_MAX)
            rows.append(FileRefused(reason, *numbers, _one_of(row.get("looks"), LOOKS)))
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
        _one_of(row.get("looks"), LOOKS),
    )
    if read.line_ends + read.is_open > read.chars or (read.encoding == "latin-1" and read.chars != byte_count):
        raise ImpossibleAnswer("the counts of a document contradict each other")
    return read


def begun(data: bytes) -> None:
    """The answer to the limits."""
    if _key(data, "begun") is not True:
        raise ImpossibleAnswer("it did not begin")


def finished(data: bytes, documents: Sequence[FileRead], *, hashed: bool) -> str | None:
    """The hash over all documents, if it was asked for. The sums that come with it must be those of the documents."""
    finished = _key(data, "finished")
    if not isinstance(finished, dict):
        raise ImpossibleAnswer("the summary of all files is not an object")
    digest = _sha256(finished.get("sha256")) if hashed else None
    expected = (
        sum(one.byte_count for one in documents),
        sum(one.chars for one in documents),
        layout_of(documents),
        is_mappable(documents),
    )
    if tuple(finished.get(key) for key in ("bytes", "chars", "layout", "mapped")) != expected:
        raise ImpossibleAnswer("the whole is not the sum of its documents")
    return digest


def hashed(data: bytes) -> str | None:
    """The hash of a file; None if the file is shorter than expected."""
    digest = _key(data, "hashed")
    return None if digest == "" else _sha256(digest)


def layout_of(documents: Sequence[FileRead]) -> Layout:
    """The narrowest layout that fits all documents."""
    return LAYOUTS[max((LAYOUTS.index(one.layout) for one in documents), default=0)]


def utf8_size(documents: Sequence[FileRead]) -> int | None:
    """What all documents take as UTF-8, in which a byte that does not decode is a surrogate; None if not known."""
    if any(one.encoding not in _UTF_8_MARKS for one in documents):
        return None
    marks = sum(min(one.byte_count, _UTF_8_MARKS[one.encoding]) for one in documents)
    return sum(one.byte_count + 2 * one.bad_bytes for one in documents) - marks


def is_mappable(documents: Sequence[FileRead]) -> bool:
    """Whether the bytes of all documents are their characters in that layout just as they are."""
    return all(one.is_mappable for one in documents)


def spooled(data: bytes, chars: int, layout: Layout, utf8_bytes: int) -> int:
    """The answer to a request to spool: 0, or the errno of why it failed. The sizes must follow from the characters."""
    if (number := _count(_key(data, "errno"), ERRNO_MAX)) != 0:
        return number
    sizes = _count(_key(data, "spooled")), _count(_key(data, "utf8"))
    if sizes != (chars * WIDTHS[layout], utf8_bytes):
        raise ImpossibleAnswer("the size of the spooled file does not match its characters")
    return 0


@dataclass(frozen=True, slots=True)
class ValueRefused:
    """A JSON text that has no value. See `context_wire.Written`. `words` are the loader's, and untrusted."""

    reason: str
    words: str
    errno: int


def value(data: bytes, file_bytes: int) -> int | ValueRefused:
    """The answer to a JSON text: the size of its value, which is in a file of at most `file_bytes`."""
    said = _key(data, "json")
    if not isinstance(said, dict):
        raise ImpossibleAnswer("the answer to a JSON text is not an object")
    if said.get("refused"):
        words = said.get("words")
        if not isinstance(words, str):
            raise ImpossibleAnswer("a refusal gives no reason")
        reason = _one_of(said["refused"], JSON_REASONS)
        return ValueRefused(reason, words[:WORDS_CHARS], _count(said.get("errno"), ERRNO_MAX))
    return _count(said.get("bytes"), file_bytes)


def index_rows(data: bytes, count: int) -> array[int]:
    """Up to `INDEX_ROWS` rows of the index; `context/loader/index.py` checks the numbers."""
    if len(data) != min(count, INDEX_ROWS) * ROW_BYTES:
        raise ImpossibleAnswer("the index has the wrong length")
    rows = array("Q")
    rows.frombytes(data)
    return rows


def _key(data: bytes, key: str) -> Any:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImpossibleAnswer("it is not JSON") from error
    if not isinstance(said, dict) or key not in said:
        raise ImpossibleAnswer(f"it is not an answer of the kind {key!r}")
    return said[key]


def _list(value: Any, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise ImpossibleAnswer("a list has the wrong length")
    return value


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ImpossibleAnswer("a hash is missing")
    return value


def _count(value: Any, most: int = (1 << 63) - 1) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ImpossibleAnswer("a number is out of range")
    return value


def _layout(value: Any) -> Layout:
    _one_of(value, LAYOUTS)
    return next(layout for layout in LAYOUTS if layout == value)


def _one_of(value: Any, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ImpossibleAnswer("a word is unknown")
    return value
