"""The store's database: on disk as long as the disk works, and in memory until it works again.

Is: which of the two a write goes to, and that no write ever raises for a bad disk. Is not: what is written
(`store/store.py`), nor the file (`file.py`). Above: `store/store.py`. Below: `apart.py`, `checkpoints.py`, `file.py`,
`memory.py`, `schema.py`.

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

from rlm_kernel_mcp.store.database.apart import Apart
from rlm_kernel_mcp.store.database.checkpoints import JOIN_S, RETRY_BUSY_MS, Checkpoints
from rlm_kernel_mcp.store.database.damage import FAILURES, Failure, has_broken_schema, is_damage
from rlm_kernel_mcp.store.database.file import BUSY_TIMEOUT_MS, FILE_NAME, explain_error, inode_of, open_file
from rlm_kernel_mcp.store.database.memory import Operation, move_all, open_memory, salvage, write_memory
from rlm_kernel_mcp.store.database.schema import MIGRATIONS, transaction
from rlm_kernel_mcp.store.database.shared_index import SharedIndex

_DEFECTS: Final = (sqlite3.ProgrammingError, sqlite3.IntegrityError)
_UNTIL_THEN: Final = "Until then sessions are kept in memory only, and are lost when this server ends."
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 60.0

log = logging.getLogger(__name__)


class Database:
    """One store's rows. Any thread may call; calls do not overlap."""

    def __init__(self, directory: Path, seed: Operation) -> None:
        """`seed` writes the rows of the live sessions into a database that takes over."""
        self._directory = directory
        self._file = str(directory / FILE_NAME)  # its inode is checked before each write
        self._seed = seed
        self._lock = threading.RLock()
        self._disk, self._write_problem = open_file(directory)
        self._read_problem: str | None = None
        self._inode = inode_of(self._file)
        self._within_ms = BUSY_TIMEOUT_MS
        self._is_damaged = self._is_moved = self._is_begun = False
        self._memory: sqlite3.Connection | None = None
        self._retry_s = _FIRST_RETRY_S
        self._retry_at = 0.0
        self._index = SharedIndex(directory / FILE_NAME)
        self._checkpoints = Checkpoints(directory / FILE_NAME, self._index)
        self._apart = Apart(directory / FILE_NAME, self._index)
        if self._disk is None:
            self._begin_memory(self._write_problem or "")

    @property
    def problem(self) -> str | None:
        """What is wrong, and how to fix it; None if all is well."""
        problem = self._write_problem or self._read_problem
        return problem if self._memory is None else f"{problem} {_UNTIL_THEN}"

    @property
    def unread(self) -> str | None:
        """Why a read did not get what the disk has; None where it did."""
        return self._read_problem if self._memory is None else self._write_problem

    @property
    def is_on_disk(self) -> bool:
        return self._disk is not None and self._memory is None

    def write(self, operation: Operation, size_bytes: int = 0) -> bool:
        """Do `operation`, which may be done twice; whether it is kept. `size_bytes` is about what it writes.

        Raises:
            sqlite3.ProgrammingError, sqlite3.IntegrityError: a defect of the caller, such as a store that is closed.
        """
        with self._lock:
            if self._memory is None and not self._is_begun and inode_of(self._file) != self._inode:
                # Removed, or set aside by another server: nobody would ever read what is written there.
                self._is_moved = True
                self._begin_memory("The session store was removed or replaced while this server used it.")
                self.return_to_disk()
            elif self._memory is not None and time.monotonic() >= self._retry_at:
                self.return_to_disk()
            if self._memory is None:
                try:
                    operation(self._open_disk())
                    self._end("COMMIT")
                    self._checkpoints.wrote(size_bytes)
                    return True
                except _DEFECTS:
                    raise
                except FAILURES as error:
                    self._end("ROLLBACK")
                    self._is_damaged = self._is_damage(error)
                    self._begin_memory(f"The session store cannot be written: {explain_error(error)}")
            return self._write_memory(operation)

    def at_once(self, do: Callable[[], object], *, reads: bool = False) -> bool:
        """Call `do`, which writes once or `reads`, unless it would wait for another thread or process; whether it did.

        Raises: what it raises.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if reads or self._memory is not None:  # a reader waits for no other process
                is_free = reads or time.monotonic() < self._retry_at
            else:
                is_free = inode_of(self._file) == self._inode and not self._checkpoints.is_behind and self._begin()
            if is_free:
                do()
            return is_free
        finally:
            if self._is_begun:  # `do` wrote nothing, or raised
                self._end("ROLLBACK")
            self._lock.release()

    def read(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows on disk, and after them those in memory, which are the newer ones.

        Raises:
            sqlite3.ProgrammingError: as `write`.
        """
        with self._lock:
            rows = self._read_disk(query, parameters)
            return rows + self._read_memory(query, parameters)

    def read_apart(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """As `read`, for what takes long: on a connection of its own, so that nobody who writes waits for it.

        Raises: as `read`.
        """
        # Without the lock: a writer may be waiting for another process, which readers of the file need not do.
        inode = self._inode if self.is_on_disk else None
        if inode is None:
            return self.read(query, parameters)
        try:
            return self._apart.rows(inode, query, parameters)
        except sqlite3.ProgrammingError:
            raise
        except (OSError, *FAILURES):
            return self.read(query, parameters)  # it says what is wrong, and repairs what it can

    def check(self, above_bytes: int = 0) -> None:
        """Check the whole file, if it is large, while others use it; a damaged one is set aside."""
        with self._lock:
            is_on_disk = self.is_on_disk
        try:
            if not is_on_disk or (self._directory / FILE_NAME).stat().st_size <= above_bytes:
                return
            found = self._apart.is_broken()
        except (OSError, *FAILURES) as error:
            log.warning("the session store could not be looked through: %s", explain_error(error))
            return
        if found:
            with self._lock:
                self._set_aside("The session store was found damaged.")

    def _read_disk(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._memory is not None and self._disk is None:
            return []
        for _ in range(2):  # once more where a damaged store was set aside meanwhile
            try:
                rows = self._open_disk().execute(query, parameters).fetchall()
                self._read_problem = None
                return rows
            except sqlite3.ProgrammingError:
                raise
            except FAILURES as error:
                self._read_problem = f"The session store cannot be read in full: {explain_error(error)}"
                log.warning("%s", self._read_problem)
                if not self._is_damage(error) or not self._set_aside(self._read_problem):
                    break
        return []

    def _read_memory(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return [] if self._memory is None else self._memory.execute(query, parameters).fetchall()

    def _set_aside(self, problem: str) -> bool:
        """Begin another file in place of a damaged one; whether there is one."""
        self._is_damaged = True
        if self._memory is None:
            self._begin_memory(problem)
        return self.return_to_disk()

    def _is_damage(self, error: Failure) -> bool:
        if is_damage(error) or self._disk is None:
            return is_damage(error)
        try:  # a table or a column that is not there any more
            is_odd = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR
            return is_odd and has_broken_schema(self._disk, len(MIGRATIONS))
        except FAILURES as other:
            return is_damage(other)

    def return_to_disk(self) -> bool:
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
        """Close everything, and let the disk catch up. Safe to call twice."""
        with self._lock:
            connections = self._disk, self._memory
            self._disk = self._memory = None
        self._checkpoints.join()
        self._index.keep()
        for connection in connections:
            if connection is not None:
                connection.close()
        self._apart.close(JOIN_S)

    def _open_disk(self) -> sqlite3.Connection:
        if self._disk is None:
            raise sqlite3.ProgrammingError("the store is closed")
        if not self._is_begun:
            self._index.keep()
            self._wait_for_others(self._disk, BUSY_TIMEOUT_MS)
        return self._disk

    def _begin(self) -> bool:
        """Begin a transaction if no other process writes just now; whether one is begun."""
        if (disk := self._disk) is None:
            return False
        try:
            self._index.keep()
            self._wait_for_others(disk, 0)
            disk.execute("BEGIN IMMEDIATE")
        except FAILURES:
            return False  # a write that may wait will find out what it is
        self._is_begun = True
        return True

    def _wait_for_others(self, disk: sqlite3.Connection, within_ms: int) -> None:
        """How long a statement waits for another process from now on."""
        if within_ms != self._within_ms:
            disk.execute(f"PRAGMA busy_timeout = {within_ms}")
            self._within_ms = within_ms

    def _end(self, how: str) -> None:
        """End the transaction of `_begin`, if it is not ended: a disk that is full ends it by itself."""
        if not self._is_begun or self._disk is None:
            return
        if self._disk.in_transaction:
            self._disk.execute(how)
        self._is_begun = False

    def _begin_memory(self, problem: str) -> None:
        self._memory = open_memory()
        self._seed(self._memory)
        self._retry_at = time.monotonic() + self._retry_s
        self._write_problem = problem
        log.warning("%s", self.problem)

    def _write_memory(self, operation: Operation) -> bool:
        if self._memory is None:
            raise sqlite3.ProgrammingError("the store is closed")
        return write_memory(self._memory, operation)

    def _open_again(self, memory: sqlite3.Connection) -> str | None:
        if self._disk is not None:
            salvage(self._disk, memory)  # while it is open: what can still be read of the live sessions
            self._disk.close()
        # Another server may have set the same damaged file aside already, and begun a new one.
        is_the_same = inode_of(self._file) == self._inode
        self._disk, problem = open_file(self._directory, set_aside=self._is_damaged and is_the_same)
        self._within_ms = BUSY_TIMEOUT_MS
        if self._disk is None:
            self._write_problem = problem
        else:
            self._inode, self._is_damaged, self._is_moved = inode_of(self._file), False, False
        return problem

    def _move(self, memory: sqlite3.Connection, disk: sqlite3.Connection) -> bool:
        try:
            self._wait_for_others(disk, RETRY_BUSY_MS)
            with transaction(disk):
                move_all(memory, disk)
        except FAILURES as error:
            self._is_damaged = self._is_damage(error)
            self._write_problem = f"The session store cannot be written: {explain_error(error)}"
            return False
        return True
