"""Further connections to the store's file, for slow reads: writers do not wait for them.

Is: one for rows, its lock, and its end with the file it belongs to; one for a look through the whole file, which no
other read waits for. Is not: what is read.
Above: `database.py`. Below: `file.py`, `damage.py`.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

from rlm_kernel_mcp.store.database.damage import FAILURES, is_broken
from rlm_kernel_mcp.store.database.file import connect
from rlm_kernel_mcp.store.database.shared_index import SharedIndex


class Apart:
    """One connection for rows, opened when it is first used. Any thread may call; reads of rows do not overlap."""

    def __init__(self, path: Path, index: SharedIndex) -> None:
        self._path = path
        self._index = index
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None

    def rows(self, inode: int, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """What a query finds in the file with that inode number.

        Raises:
            sqlite3.Error, UnicodeDecodeError, OSError: the file cannot be read; the next call opens it again.
        """
        with self._lock:
            try:
                return self._connected(inode).execute(query, parameters).fetchall()
            except (OSError, *FAILURES):
                self._close()
                raise

    def is_broken(self) -> bool:
        """Check the whole file, which takes the longer the larger it is. Raises: as `rows`."""
        self._index.keep()
        connection = connect(self._path)
        try:
            return is_broken(connection)
        finally:
            connection.close()

    def close(self, within_s: float) -> None:
        """Close it; a read that is still going on then ends with the process."""
        if self._lock.acquire(timeout=within_s):
            self._close()
            self._lock.release()

    def _connected(self, inode: int) -> sqlite3.Connection:
        self._index.keep()
        # The file was set aside and made anew: this connection would go on reading the old one.
        if self._inode != inode:
            self._close()
        if self._connection is None:
            self._connection, self._inode = connect(self._path), inode
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
