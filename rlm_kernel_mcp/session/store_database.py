"""The store's database: on disk as long as the disk holds, else in memory until it does again.

Is: which of the two a write goes to, and that none of them ever raises for a bad disk. Is not: what is written
(`store.py`), nor the file (`store_file.py`). Above: `store.py`. Below: `store_file.py`, `store_schema.py`.

On the first write that fails, a database in memory takes over, seeded with the live sessions. From time to time
a write first tries to move what it holds to the disk. Reads see both.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.session.store_file import BUSY_TIMEOUT_MS, FILE_NAME, connect, is_damage, meaning, open_file
from rlm_kernel_mcp.session.store_schema import TABLES, migrate, transaction

Operation = Callable[[sqlite3.Connection], None]

MEMORY_BYTES: Final = 128 << 20
"""What the database in memory may hold; beyond it, what can be done without goes first."""

CHECKPOINT_BYTES: Final = 8 << 20
"""Written between two checkpoints, about."""

LOG_BYTES: Final = 32 << 20
"""Size of the log beside the file, about, above which writers are made to wait for it."""

_DEFECTS: Final = (sqlite3.ProgrammingError, sqlite3.IntegrityError)
_PAGE_BYTES: Final = 4_096
_PAGES_PER_WRITE: Final = 5
_UNTIL_THEN: Final = "Until then sessions are kept in memory only, and are lost when this server ends."
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 60.0
_RETRY_BUSY_MS: Final = 50

# When the memory is full: what goes, in this order, until the write fits.
_RELIEFS: Final = (
    """UPDATE events SET stdout = '[not kept: the session store is in memory, which is full]', stderr = NULL,
    result = NULL WHERE result_status <> 'unknown'""",
    "DELETE FROM contexts",
)

log = logging.getLogger(__name__)


class Database:
    """One store's rows. Any thread may call; calls do not overlap."""

    def __init__(self, folder: Path, seed: Operation) -> None:
        """`seed` writes the rows of the live sessions into a database that takes over."""
        self._folder = folder
        self._seed = seed
        self._lock = threading.RLock()
        self._disk, self._write_problem = open_file(folder)
        self._read_problem: str | None = None
        self._inode = self._current_inode()
        self._is_damaged = self._is_moved = False
        self._memory: sqlite3.Connection | None = None
        self._retry_s = _FIRST_RETRY_S
        self._retry_at = 0.0
        self._unchecked_bytes = 0
        self._checkpoint: threading.Thread | None = None
        if self._disk is None:
            self._begin_memory(self._write_problem or "")

    @property
    def problem(self) -> str | None:
        """What is the matter, and what mends it; None if all is well."""
        problem = self._write_problem or self._read_problem
        return f"{problem} {_UNTIL_THEN}" if self._memory is not None else problem

    @property
    def is_on_disk(self) -> bool:
        return self._disk is not None and self._memory is None

    def write(self, operation: Operation, size_bytes: int = 0) -> bool:
        """Do `operation`, which may be done twice; whether it is kept. `size_bytes` is about what it writes.

        Raises:
            sqlite3.ProgrammingError, sqlite3.IntegrityError: a defect of the caller, such as a store that is closed.
        """
        with self._lock:
            if self._memory is None and self._current_inode() != self._inode:
                # Removed, or another server has set it aside: rows written there would be nobody's.
                self._is_moved = True
                self._begin_memory("The session store was removed or replaced while this server used it.")
                self.mend()
            elif self._memory is not None and time.monotonic() >= self._retry_at:
                self.mend()
            if self._memory is None:
                try:
                    operation(self._open_disk())
                    self._checkpoint_if_due(size_bytes)
                    return True
                except _DEFECTS:
                    raise
                except sqlite3.Error as error:
                    self._is_damaged = is_damage(error)
                    self._begin_memory(f"The session store cannot be written: {meaning(error)}")
            return self._write_memory(operation)

    def read(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows on disk, and after them those in memory, which are the newer ones.

        Raises:
            sqlite3.ProgrammingError: as `write`.
        """
        rows: list[tuple[Any, ...]] = []
        with self._lock:
            try:
                if self._memory is None or self._disk is not None:
                    rows.extend(self._open_disk().execute(query, parameters))
                self._read_problem = None
            except sqlite3.ProgrammingError:
                raise
            except sqlite3.Error as error:
                self._read_problem = f"The session store cannot be read in full: {meaning(error)}"
                log.warning("%s", self._read_problem)
            if self._memory is not None:
                rows.extend(self._memory.execute(query, parameters))
        return rows

    def mend(self) -> bool:
        """Try now to move to the disk what is in memory; whether all is on disk then."""
        with self._lock:
            memory = self._memory
            if memory is None:
                return True
            unusable = self._disk is None or self._is_damaged or self._is_moved
            problem = self._open_again(memory) if unusable else None
            if self._disk is not None and self._move(memory, self._disk):
                memory.close()
                self._memory = None
                self._retry_s, self._write_problem = _FIRST_RETRY_S, problem
                log.info("the session store is on disk again")
                return True
            self._retry_at = time.monotonic() + self._retry_s
            self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)
            return False

    def close(self) -> None:
        """Give everything back, and let the disk catch up. Safe to call twice."""
        with self._lock:
            checkpoint, connections = self._checkpoint, (self._disk, self._memory)
            self._disk = self._memory = None
        if checkpoint is not None:
            checkpoint.join()
        for connection in connections:
            if connection is not None:
                connection.close()

    def _open_disk(self) -> sqlite3.Connection:
        if self._disk is None:
            raise sqlite3.ProgrammingError("the store is closed")
        return self._disk

    def _begin_memory(self, problem: str) -> None:
        self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._memory.execute(f"PRAGMA max_page_count = {MEMORY_BYTES // _PAGE_BYTES}")
        migrate(self._memory)
        self._seed(self._memory)
        self._retry_at = time.monotonic() + self._retry_s
        self._write_problem = problem
        log.warning("%s", self.problem)

    def _write_memory(self, operation: Operation) -> bool:
        memory = self._memory
        if memory is None:
            raise sqlite3.ProgrammingError("the store is closed")
        for relief in ("SELECT 1", *_RELIEFS):
            try:
                memory.execute(relief)
                operation(memory)
                return True
            except sqlite3.OperationalError:  # full: the next relief is larger
                continue
        log.warning("the session store is in memory, which is full: a write of now is not kept")
        return False

    def _open_again(self, memory: sqlite3.Connection) -> str | None:
        if self._disk is not None:
            self._salvage(self._disk, memory)
            self._disk.close()
        # Another server may have set the same damaged file aside already, and begun a new one.
        is_the_same = self._current_inode() == self._inode
        self._disk, problem = open_file(self._folder, set_aside=self._is_damaged and is_the_same)
        if self._disk is None:
            self._write_problem = problem
        else:
            self._inode, self._is_damaged, self._is_moved = self._current_inode(), False, False
        return problem

    @staticmethod
    def _salvage(disk: sqlite3.Connection, memory: sqlite3.Connection) -> None:
        """Take over what can still be read of the live sessions, up to the first broken page of each."""
        for live in memory.execute("SELECT session_id FROM sessions").fetchall():
            for table in ("events", "contexts"):
                try:
                    for row in disk.execute(f"SELECT * FROM {table} WHERE session_id = ?", live):  # noqa: S608 (ours)
                        marks = ", ".join("?" * len(row))
                        memory.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
                except sqlite3.DatabaseError:
                    log.warning("some %s of session %s cannot be read in the old store", table, live[0])

    def _move(self, memory: sqlite3.Connection, disk: sqlite3.Connection) -> bool:
        try:
            disk.execute(f"PRAGMA busy_timeout = {_RETRY_BUSY_MS}")
            with transaction(disk):
                for table in TABLES:
                    rows = memory.execute(f"SELECT * FROM {table}")  # noqa: S608 (our own names)
                    marks = ", ".join("?" * len(rows.description))
                    disk.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608
            disk.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        except sqlite3.Error as error:
            self._is_damaged = is_damage(error)
            self._write_problem = f"The session store cannot be written: {meaning(error)}"
            return False
        return True

    def _checkpoint_if_due(self, size_bytes: int) -> None:
        self._unchecked_bytes += size_bytes + _PAGES_PER_WRITE * _PAGE_BYTES
        if self._unchecked_bytes < CHECKPOINT_BYTES:
            return
        if self._checkpoint is not None and self._checkpoint.is_alive():
            if self._unchecked_bytes < LOG_BYTES:
                return
            self._checkpoint.join()  # the writers are faster than the disk
        self._unchecked_bytes = 0
        self._checkpoint = threading.Thread(target=self._run_checkpoint, name="store checkpoint", daemon=True)
        self._checkpoint.start()

    def _run_checkpoint(self) -> None:
        """Write the log into the file, on a connection and in a thread of its own: it waits for the disk."""
        try:
            path = self._folder / FILE_NAME
            connection = connect(path)
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                # Where others never pause, the log is never used from its start again: then they wait for a moment.
                if Path(f"{path}-wal").stat().st_size > LOG_BYTES:
                    connection.execute(f"PRAGMA busy_timeout = {_RETRY_BUSY_MS}")
                    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:  # nothing is lost: the log goes on growing until the next one
            log.warning("the session store's checkpoint failed: %s", meaning(error))

    def _current_inode(self) -> int | None:
        try:
            return (self._folder / FILE_NAME).stat().st_ino
        except OSError:
            return None
