"""Final answers that are too long for a session's row: page by page, packed, each with its checksum.

Is: the pages of an answer, written as they come, and read one at a time. Is not: which answer a session has (`extra` of
its row says that), nor what is in it. Above: `reading.py`, `store.py`, `session/finalize.py`. Below:
`database/database.py`, `database/rows.py`.

A page of nobody's, which a killed server or a refused answer left, is removed with its session.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Final, overload

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.records import SessionRecord
from rlm_kernel_mcp.store.database.rows import check_of
from rlm_kernel_mcp.store.database.schema import for_rows
from rlm_kernel_mcp.text.surrogates import decoded

LONG: Final = "long_answer"
"""Key in `extra` of a session's row: the answer's number, characters and bytes."""
PACKING: Final = 1
"""zlib's level: the higher ones take several times as long for a tenth less."""
PAGE_BYTES_MAX: Final = 1 << 20
"""Of a page that is read; one that says that it has more is damaged."""
BATCH_BYTES: Final = 4 << 20
"""Of pages in one transaction, which others wait for."""
PORTIONS_MAX: Final = 100
"""In which pages are removed, 32 at a time: the longest answer has 1,000."""

_INSERT: Final = "INSERT INTO answer_pages VALUES (?, ?, ?, ?, ?, ?, ?)"
_INDEX: Final = "SELECT number, chars, bytes FROM answer_pages WHERE session_id = ? AND answer = ? ORDER BY number"
_PAGE: Final = (
    "SELECT chars, bytes, page_check, data FROM answer_pages WHERE session_id = ? AND answer = ? AND number = ?"
)
_LEFT: Final = "SELECT 1 FROM answer_pages WHERE session_id = ? AND answer = ? LIMIT 1"
_REMOVE: Final = (
    "DELETE FROM answer_pages WHERE rowid IN "
    "(SELECT rowid FROM answer_pages WHERE session_id = ? AND answer = ? LIMIT 32)"
)


class PagedText:
    """A text in the store, of which one page at a time is in memory. `len` is its characters.

    Its methods wait for the disk. Each raises SessionNotFound where what it reads is damaged.
    """

    def __init__(self, database: Database, session_id: str, number: int, chars: int, size_bytes: int) -> None:
        self._database = database
        self._key = (session_id, number)
        self._chars = chars
        self.size_bytes = size_bytes
        """As UTF-8, lone surrogates too."""
        self._starts: tuple[list[int], list[int]] | None = None
        """Of each page, and the end of the last one: in characters, and in bytes."""
        self._last: tuple[int, bytes] = (-1, b"")

    def __len__(self) -> int:
        return self._chars

    @property
    def utf8(self) -> PagedBytes:
        return PagedBytes(self)

    def recorded(self) -> dict[str, Any]:
        """What `extra` of its session's row has of it."""
        return {LONG: [self._key[1], self._chars, self.size_bytes]}

    def pages(self, before_each: Callable[[], object] = lambda: None) -> Iterator[str]:
        """The text, page by page. `before_each`: is called before each, and ends it by raising."""
        for number in range(len(self._index()[0]) - 1):
            before_each()
            yield decoded(self._page(number))

    def part(self, start: int, end: int) -> str:
        """Characters from `start` to `end`, as far as there are any."""
        parts = []
        for number, first in self._touched(0, start, end):
            parts.append(decoded(self._page(number))[max(start - first, 0) : max(end - first, 0)])
        return "".join(parts)

    def bytes_part(self, start: int, end: int) -> bytes:
        """The same of its UTF-8."""
        parts = []
        for number, first in self._touched(1, start, end):
            parts.append(self._page(number)[max(start - first, 0) : max(end - first, 0)])
        return b"".join(parts)

    def remove(self) -> None:
        """It is nobody's answer."""
        _remove(self._database, self._key)

    def _touched(self, unit: int, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The pages that have some of it, each with where it begins. `unit`: 0 for characters, 1 for bytes."""
        starts = self._index()[unit]
        number = max(bisect_right(starts, start) - 1, 0)
        while number < len(starts) - 1 and starts[number] < end:
            yield number, starts[number]
            number += 1

    def _index(self) -> tuple[list[int], list[int]]:
        if self._starts is None:
            rows = list(dict.fromkeys(self._database.read_apart(_INDEX, self._key)))
            if not all(type(value) is int and value >= 0 for row in rows for value in row):
                raise self._damaged()
            chars, sizes = (list(accumulate((row[unit] for row in rows), initial=0)) for unit in (1, 2))
            whole = [row[0] for row in rows] == list(range(len(rows)))
            if not whole or (chars[-1], sizes[-1]) != (self._chars, self.size_bytes):
                raise self._damaged()
            self._starts = chars, sizes
        return self._starts

    def _page(self, number: int) -> bytes:
        at, data = self._last
        if at != number:
            rows = self._database.read_apart(_PAGE, (*self._key, number))
            found = _unpacked(self._key, number, rows[-1]) if rows else None
            if found is None:
                raise self._damaged()
            data = found
            self._last = number, data
        return data

    def _damaged(self) -> SessionNotFound:
        return SessionNotFound(
            f"The final answer of session {self._key[0]} in the store is damaged: not all of its {self._chars:,} "
            "characters are there.",
            "rlm_get_trace reads what is left of the session.",
        )


class PagedBytes:
    """The UTF-8 of such a text: like `bytes`, as far as a reader of parts needs it."""

    def __init__(self, text: PagedText) -> None:
        self.text = text

    def __len__(self) -> int:
        return self.text.size_bytes

    @overload
    def __getitem__(self, at: int) -> int: ...

    @overload
    def __getitem__(self, at: slice) -> bytes: ...

    def __getitem__(self, at: int | slice) -> int | bytes:
        if isinstance(at, int):
            return self.text.bytes_part(at, at + 1)[0]
        start, end, _ = at.indices(len(self))
        return self.text.bytes_part(start, end)


class NewAnswer:
    """An answer that is being written. Its methods wait for the disk; one thread at a time calls them."""

    def __init__(self, database: Database, session_id: str, number: int) -> None:
        self._database = database
        self._key = (session_id, number)
        self._rows: list[tuple[Any, ...]] = []
        self._waiting_bytes = 0
        self._pages = self._chars = self._bytes = 0

    def add(self, data: bytes, chars: int) -> bool:
        """Add a page, some valid UTF-8; false if the disk does not keep it."""
        packed = zlib.compress(data, PACKING)
        self._rows.append(
            (*self._key, self._pages, chars, len(data), _check(self._key, self._pages, chars, data), packed)
        )
        self._pages, self._chars, self._bytes = self._pages + 1, self._chars + chars, self._bytes + len(data)
        self._waiting_bytes += len(packed)
        return self._waiting_bytes < BATCH_BYTES or self._write()

    def end(self) -> PagedText | None:
        """The whole answer, once it is written; None if the disk does not keep it."""
        is_kept = self._write()
        return PagedText(self._database, *self._key, self._chars, self._bytes) if is_kept else None

    def remove(self) -> None:
        """Nothing comes of it."""
        self._rows.clear()
        _remove(self._database, self._key)

    def _write(self) -> bool:
        is_kept = not self._rows or self._database.write(for_rows(_INSERT, self._rows), self._waiting_bytes)
        self._rows, self._waiting_bytes = [], 0
        # What is in memory alone would be gone with this server, and takes the room of what others wait to have kept.
        return is_kept and self._database.is_on_disk


class LongAnswers:
    """One store's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, session_id: str, number: int) -> NewAnswer:
        """Begin to write one. `number`: minted by the store."""
        return NewAnswer(self._database, session_id, number)

    def of(self, record: SessionRecord) -> PagedText | None:
        """The answer of a session whose row says that it has such a one."""
        try:
            number, chars, size_bytes = json.loads(record.extra or "{}")[LONG]
        except (KeyError, TypeError, ValueError):
            return None
        return PagedText(self._database, record.session_id, number, chars, size_bytes)

    def is_whole(self, answer: PagedText) -> bool:
        """Whether every page is as it was written. Reads all: call it in a thread."""
        try:
            for _ in answer.pages():
                pass
        except SessionNotFound:
            return False
        return True


def _remove(database: Database, key: tuple[str, int]) -> None:
    """In portions: others wait for each."""

    def remove(connection: sqlite3.Connection) -> None:
        connection.execute(_REMOVE, key)

    def remove_all() -> None:
        for _ in range(PORTIONS_MAX):
            if not database.read(_LEFT, key) or not database.write(remove):
                return

    remove_all()
    # A disk that these pages have filled has room for the little that is in memory, and then for their removal.
    if not database.is_on_disk and database.return_to_disk():
        remove_all()


def _check(key: tuple[str, int], number: int, chars: int, data: bytes) -> int:
    """The checksum of a page, which is no other page's of any answer."""
    return check_of((*key, number, chars, len(data), zlib.crc32(data)))


def _unpacked(key: tuple[str, int], number: int, row: tuple[Any, ...]) -> bytes | None:
    """The bytes of a page; None if it is damaged. No more is unpacked than the row says."""
    chars, size, check, packed = row
    if not isinstance(packed, bytes) or type(size) is not int or not 0 <= size <= PAGE_BYTES_MAX:
        return None
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, size + 1)
    except zlib.error:
        return None
    is_right = unpacker.eof and len(data) == size and check == _check(key, number, chars, data)
    return data if is_right else None
