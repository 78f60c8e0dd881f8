"""The documents of contexts that have many, page by page: names, and where each begins.

Is: pages of a context, each with its checksum. Is not: the few that a context's own report names, nor a document's
text. Above: `store/reading.py`. Below: `store/database/`, `seen.py`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.schema import atomic
from rlm_kernel_mcp.store.maps.seen import packed, packed_check, unpacked

PAGE_DOCUMENTS: Final = 1_000
PAGE_NAMES_CHARS: Final = 150_000
"""Of the names in one page, of which there are fewer where they are long."""

_DELETE: Final = "DELETE FROM context_documents WHERE session_id = ? AND context = ?"
_INSERT: Final = (
    "INSERT OR REPLACE INTO context_documents SELECT ?, ?, ?, ?, ?, ?, ? "
    "WHERE EXISTS (SELECT 1 FROM sessions WHERE session_id = ?1)"
)
_PAGES: Final = (
    "SELECT number, start, chars, page_check, data FROM context_documents WHERE session_id = ? AND context = ?"
)
_ALL: Final = "SELECT DISTINCT session_id, context FROM context_documents"


@dataclass(frozen=True, slots=True)
class DocumentsPage:
    """Some documents of a context, one behind the other."""

    start: int
    """Where the first begins, in characters of the context."""
    names: tuple[str, ...]
    chars: tuple[int, ...]
    """Of each."""


class DocumentPages:
    """One store's. Its methods wait for the disk, and none raises for a bad one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, session_id: str, context: str, names: Sequence[str], chars: Sequence[int]) -> None:
        """Keep all documents of a context, in place of earlier ones."""
        pages = list(_pages(names, chars))
        rows: list[tuple[Any, ...]] = []
        for number, page in enumerate(pages):
            told = json.dumps([page.names, page.chars], ensure_ascii=False)
            kept = packed(told.encode("utf-8", "surrogatepass"))
            values = (session_id, context, number, page.start, sum(page.chars))
            rows.append((*values, packed_check(values, kept), kept))

        def replace(connection: sqlite3.Connection) -> None:
            with atomic(connection):
                connection.execute(_DELETE, (session_id, context))
                connection.executemany(_INSERT, rows)

        self._database.write(replace, sum(len(row[-1]) for row in rows))

    def of(self, session_id: str, context: str, at: int | None = None) -> list[DocumentsPage]:
        """The pages of a context in order, those that are whole. `at`: only the one with this character."""
        query = _PAGES if at is None else f"{_PAGES} AND start <= ? AND start + chars > ?"
        more = () if at is None else (at, at)
        rows = {row[0]: row for row in self._database.read_apart(query, (session_id, context, *more))}
        found = [_page((session_id, context), row) for row in rows.values()]
        return sorted((page for page in found if page is not None), key=lambda page: page.start)

    def damaged(self) -> int:
        """How many pages are not what was written. It reads all: call it in a thread."""
        bad = 0
        for key in set(self._database.read_apart(_ALL)):
            rows = self._database.read_apart(_PAGES, key)
            bad += sum(_page(key, row) is None for row in rows)
        return bad


def _pages(names: Sequence[str], chars: Sequence[int]) -> Iterator[DocumentsPage]:
    start = first = 0
    while first < len(names):
        last, room = first, PAGE_NAMES_CHARS
        while last < min(len(names), first + PAGE_DOCUMENTS) and (room > 0 or last == first):
            room -= len(names[last])
            last += 1
        yield DocumentsPage(start, tuple(names[first:last]), tuple(chars[first:last]))
        start += sum(chars[first:last])
        first = last


def _page(key: tuple[Any, ...], row: tuple[Any, ...]) -> DocumentsPage | None:
    number, start, chars, check, kept = row
    if type(kept) is not bytes or check != packed_check((*key, number, start, chars), kept):
        return None
    data = unpacked(kept)
    if data is None:
        return None
    names, sizes = json.loads(data.decode("utf-8", "surrogatepass"))
    return DocumentsPage(start, tuple(names), tuple(sizes))
