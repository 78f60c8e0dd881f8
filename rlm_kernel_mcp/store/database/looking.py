"""The store's database for who only looks: SQLite opens the file to read, and no statement can change it.

Is: the rows on disk, also while servers write them. Is not: a place for a row: nothing is made, brought up to date,
repaired or set aside here, as `database.py` does. Above: `commands/looking/live.py`. Below: `database.py`, `file.py`,
`shared_index.py`.

Readers of a WAL share its index with the writers, so the two files beside the store may be made, and stay.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rlm_kernel_mcp.store.database.damage import FAILURES
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.database.file import BUSY_TIMEOUT_MS, FILE_NAME, explain_error, inode_of
from rlm_kernel_mcp.store.database.memory import Operation
from rlm_kernel_mcp.store.database.rows import text_of
from rlm_kernel_mcp.store.database.schema import MIGRATIONS, version_of
from rlm_kernel_mcp.store.database.shared_index import SharedIndex


class LookedAt(Database):
    """One store's rows. Any thread may call; calls do not overlap. A bad disk never raises: see `unread`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._index = SharedIndex(self._path)
        self._turn = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        return self._problem

    @property
    def unread(self) -> str | None:
        return self._problem

    @property
    def is_on_disk(self) -> bool:
        return True

    def write(self, operation: Operation, size_bytes: int = 0) -> bool:
        """Raises: sqlite3.ProgrammingError: a defect of the caller."""
        del operation, size_bytes
        raise sqlite3.ProgrammingError("this store is only looked at")

    def read(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows on disk. Raises: sqlite3.ProgrammingError: a defect of the caller."""
        with self._turn:
            try:
                rows = self._connected().execute(query, parameters).fetchall()
            except sqlite3.ProgrammingError:
                raise
            except OtherVersion as error:
                self._problem = str(error)
            except (OSError, *FAILURES) as error:
                self._problem = f"The session store cannot be read in full: {explain_error(error)}"
            else:
                self._problem = None
                return rows
            self._close()
            return []

    read_apart = read
    """Nobody who writes waits for it in any case."""

    def check(self, above_bytes: int = 0) -> None:
        """Whoever repairs it looks through it."""

    def close(self) -> None:
        """Safe to call twice."""
        with self._turn:
            self._close()

    def _connected(self) -> sqlite3.Connection:
        """Raises: OSError, OtherVersion, sqlite3.Error: it cannot be read."""
        self._index.keep()
        inode = inode_of(str(self._path))
        if self._reader is None or inode != self._inode:  # it was set aside, and another begun
            self._close()
            self._reader, self._inode = _opened(self._path), inode
        return self._reader

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


class OtherVersion(Exception):
    """The store has the tables of another version of this program."""


def _opened(path: Path) -> sqlite3.Connection:
    path.stat()  # else SQLite says no more than that it cannot open it
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    connection.text_factory = text_of
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        version = version_of(connection)
        if version != len(MIGRATIONS):
            newer = version > len(MIGRATIONS)
            raise OtherVersion(
                f"The session store was written by {'a newer' if newer else 'an earlier'} version of this program (its "
                f"schema is {version}, this program's {len(MIGRATIONS)}); "
                + ("upgrade rlm-kernel-mcp." if newer else "`rlm-kernel-mcp sessions` brings it up to date.")
            )
    except BaseException:
        connection.close()
        raise
    return connection
