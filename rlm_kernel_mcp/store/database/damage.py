"""Whether the store's file, or the log beside it, is still what was written.

Is: what SQLite itself does not check: its schema, its pages as a whole, and a log that ends too soon. Is not: what is
in a row (`rows.py`), nor what is done about it. Above: `file.py`, `database.py`. Below: `schema.py`, sqlite3.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.store.database.schema import MIGRATIONS, migrate

CHECKED_AT_OPEN_BYTES: Final = 64 << 20
"""Up to this size a store is checked when it is opened (1 ms a MB); a larger one is checked in the background."""

# The write-ahead log: a header of 32 bytes, then frames of 24 bytes and a page (sqlite.org/fileformat2, 4.1).
_FRAME_HEAD: Final = 24
_LOG_HEAD: Final = 32
_BIG_ENDIAN_LOG: Final = 0x377F0683
_LOG_MAGIC: Final = (0x377F0682, _BIG_ENDIAN_LOG)

Failure = sqlite3.Error | UnicodeDecodeError
"""What Python's sqlite3 raises for a bad file; the second where a message quotes the file and that is not text."""
FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file itself is broken, or is not a store at all."""
    code = int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
    return isinstance(error, UnicodeDecodeError) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def has_broken_schema(connection: sqlite3.Connection, version: int) -> bool:
    """Whether the file is ours and does not have the tables of its version, to the letter.

    The file of another program is none of our business.
    """
    found, expected = _schema(connection), _expected_schema(max(version, 0))
    if found == expected:
        return False
    ours = expected | _expected_schema(len(MIGRATIONS))
    return bool(found & ours)


def is_of_another_program(connection: sqlite3.Connection, version: int) -> bool:
    """Whether a file whose schema is not broken has tables that no version of the store has."""
    return version < 0 or _schema(connection) != _expected_schema(version)


def is_broken(connection: sqlite3.Connection) -> bool:
    """Whether a page, an index or a required value of the file is not as it must be. Reads all of the file.

    Raises:
        sqlite3.Error: it cannot be checked at all, for whatever reason.
    """
    try:
        # (1): the first error is enough; without a limit it lists a hundred.
        rows = connection.execute("PRAGMA integrity_check(1)").fetchall()
        connection.execute("PRAGMA shrink_memory").fetchall()  # else every page that was read stays in memory
    except FAILURES as error:
        if is_damage(error):
            return True
        raise
    return rows != [("ok",)]


class LogBefore:
    """The log beside the store as it lies there before the store is opened, after a kill for example."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head = b""
        self.is_there = False
        """Whether there is anything in it."""
        self._commits: list[int] = []
        """Places of the frames that end a transaction of the log's present turn."""
        try:
            with path.open("rb") as log:
                self._head = log.read(_LOG_HEAD)
                self.is_there = len(self._head) == _LOG_HEAD and path.stat().st_size > _LOG_HEAD
                if self.is_there and _is_whole_head(self._head):
                    self._commits = list(_commits(log.fileno(), path, self._head))
        except OSError:
            return

    def lost(self, connection: sqlite3.Connection) -> bool:
        """Whether writes that were acknowledged stand in the log, and SQLite could not read them."""
        if not self.is_there or not self._is_short(connection):
            return False
        # Or another process writes just now: a commit of its stands in the log before its index says so. Once it has
        # let go of the lock, or not within the time that a statement waits, both are there.
        with suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        return self._is_short(connection)

    def _is_short(self, connection: sqlite3.Connection) -> bool:
        """Whether SQLite has read less of the log than stands there."""
        if not _is_whole_head(self._head):
            return self._is_same_turn()
        _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return 0 <= frames < max(self._commits, default=0) and self._is_same_turn()

    def _is_same_turn(self) -> bool:
        """Whether the log has not been started over meanwhile."""
        try:
            with self._path.open("rb") as log:
                return log.read(_LOG_HEAD) == self._head
        except OSError:
            return False


def _commits(descriptor: int, path: Path, head: bytes) -> Iterator[int]:
    """Places, from 1, of the frames that end a transaction. A frame of an earlier turn has other salts."""
    page_bytes = int.from_bytes(head[8:12], "big")
    frame_bytes = page_bytes + _FRAME_HEAD
    for place in range((path.stat().st_size - _LOG_HEAD) // frame_bytes):
        # Bytes 8 to 16 are the salts, which change when the log starts over. Bytes 4 to 8 are the size of the database
        # after a commit, and 0 in any other frame. One differing byte is a damaged frame of this turn, not an older
        # one.
        frame = os.pread(descriptor, _FRAME_HEAD, _LOG_HEAD + place * frame_bytes)
        differing = sum(one != other for one, other in zip(frame[8:16], head[16:24], strict=True))
        if differing <= 1 and frame[4:8] != bytes(4):
            yield place + 1


def _is_whole_head(head: bytes) -> bool:
    magic, _, page_bytes = struct.unpack(">III", head[:12])
    if magic not in _LOG_MAGIC or page_bytes == 0:
        return False
    words = struct.unpack(f"{'>' if magic == _BIG_ENDIAN_LOG else '<'}6I", head[:24])
    # SQLite's own checksum, over the header in the byte order that its magic number names.
    first = second = 0
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return struct.pack(">II", first, second) == head[24:32]


def _schema(connection: sqlite3.Connection) -> frozenset[tuple[str, ...]]:
    rows = connection.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema").fetchall()
    return frozenset(tuple(map(str, row)) for row in rows)


@cache
def _expected_schema(version: int) -> frozenset[tuple[str, ...]]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection, MIGRATIONS[:version])
        return _schema(connection)
    finally:
        connection.close()
