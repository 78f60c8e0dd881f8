"""The store's file: made, opened, checked, migrated, and set aside when it is damaged.

Is: everything that happens before the first row, and what an error of the disk means to a person. Is not: rows.
Above: `database.py`. Below: `schema.py`, `damage.py`, the file system. Never raises for a bad disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.store.database.damage import (
    CHECKED_AT_OPEN_BYTES,
    FAILURES,
    Failure,
    LogBefore,
    has_broken_schema,
    is_broken,
    is_damage,
    is_of_another_program,
)
from rlm_kernel_mcp.store.database.rows import text_of
from rlm_kernel_mcp.store.database.schema import MIGRATIONS, TABLES, migrate, version_of
from rlm_kernel_mcp.text.home_directory import own_home

FILE_NAME: Final = "sessions.db"
OUR_DIRECTORIES: Final = ("locks", "snapshots", "watch")
BUSY_TIMEOUT_MS: Final = 1_000
"""How long a statement waits for another process that writes."""

_LOG_LOST: Final = (
    "The log beside the session store was damaged: what the last servers wrote into it after the damaged place is "
    "missing from the record."
)
_OPENING_TRIES: Final = 500
_OPENING_PAUSE_S: Final = 0.01
"""Between two of them. Whoever opens it has the disk write a log that was left, which takes seconds on a busy one."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCKED: Final = (errno.EAGAIN,)
"""What flock(2) says where another holds the lock; ETIMEDOUT is a disk's (a file system of the network)."""
_FORBIDDEN: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


def open_file(directory: Path, *, set_aside: bool = False) -> tuple[sqlite3.Connection | None, str | None]:
    """The store below `directory`, and what a person should know of it.

    `(connection, None)`: all is well. `(connection, problem)`: usable, but it is a new one, since the old one was
    damaged. `(None, problem)`: not usable. `set_aside`: begin a new one in any case.
    """
    try:
        make_private_directory(directory)
        with _one_opener(directory):
            return _open(directory / FILE_NAME, set_aside=set_aside)
    except (OSError, *FAILURES) as error:
        return None, f"The session store cannot be used: {explain_error(error)}"


def make_private_directory(directory: Path) -> None:
    """Make a directory, or take one over, that only this user can enter, whatever the umask."""
    for missing in reversed([one for one in (directory, *directory.parents) if not one.exists()]):
        missing.mkdir(exist_ok=True)
        missing.chmod(0o700)
    status = directory.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "its directory is a file")
    # A directory that others use too (/tmp, the home, /) was named by mistake, and stays as it is: the files are 0600.
    is_ours = (
        status.st_uid == os.geteuid() and not status.st_mode & stat.S_ISVTX and str(directory) != own_home(os.geteuid())
    )
    if is_ours and stat.S_IMODE(status.st_mode) != 0o700 and all(map(_is_our_name, os.listdir(directory))):  # noqa: PTH208
        directory.chmod(0o700)


def _is_our_name(name: str) -> bool:
    """Whether a file or directory in a state directory is called as one of ours is."""
    return name.startswith(FILE_NAME) or name.endswith(".lock") or name in OUR_DIRECTORIES


def inode_of(path: str) -> int | None:
    """The inode that has this name just now; None if there is none, or it cannot be looked at."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 (a path's own way takes twice as long, at each write)
    except OSError:
        return None


def explain_error(error: OSError | Failure) -> str:
    """What went wrong, in a person's words, and how to fix it."""
    code, number = _code(error), error.errno if isinstance(error, OSError) else None
    if code == sqlite3.SQLITE_FULL or number in _FULL:
        return "the disk is full; free some room."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or number in _LOCKED:
        return "another process holds a lock on it; stop that process."
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN) or number in _FORBIDDEN:
        return "its directory cannot be written; make it writable, or set RLM_STATE_DIR to a directory that is."
    if is_damage(error):
        return "it is damaged; it will be set aside, and a new one begun."
    said = error.strerror if isinstance(error, OSError) else str(error)
    return f"{said}; check the disk, or set RLM_STATE_DIR to another directory."


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread (the caller makes sure that only one uses it at a time).

    Raises:
        sqlite3.Error, OSError.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.text_factory = text_of
    try:
        if not path.stat().st_size:  # only an empty file accepts this; any other would be written to for nothing
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # `prune` gives room back without copying the file
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # A checkpoint waits for the disk, so `database.py` has another thread do it.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        connection.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def _open(path: Path, *, set_aside: bool) -> tuple[sqlite3.Connection | None, str | None]:
    if not set_aside:
        try:
            return _opened(path)
        except FAILURES as error:
            if not is_damage(error):
                raise
    name = _set_aside(path)
    connection, problem = _opened(path)
    return connection, problem or (
        f"The session store was damaged and is now called {name}, below RLM_STATE_DIR; a new one was begun, "
        "which does not have the earlier sessions. Delete the old one if nobody wants to repair it."
    )


def _opened(path: Path) -> tuple[sqlite3.Connection | None, str | None]:
    _make_private_file(path)
    log = LogBefore(path.with_name(f"{path.name}-wal"))
    connection = connect(path)
    try:
        version = version_of(connection)
        if version > len(MIGRATIONS):
            connection.close()
            return None, (
                f"The session store was written by a newer version of this program (its schema is {version}, this "
                f"program's {len(MIGRATIONS)}); upgrade rlm-kernel-mcp, or set RLM_STATE_DIR to another directory."
            )
        problem = _LOG_LOST if log.lost(connection) else None  # before anything is written after what was lost
        if has_broken_schema(connection, version):
            raise _Damaged("its tables are not as they must be")
        if version < len(MIGRATIONS) and is_of_another_program(connection, version):  # ours would be written into it
            connection.close()
            return None, (
                f"The session store cannot be used: {path.name} is another program's database, to which nothing is "
                "written; move it away, or set RLM_STATE_DIR to another directory."
            )
        migrate(connection)
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()  # noqa: S608 (our own names)
        if path.stat().st_size <= CHECKED_AT_OPEN_BYTES and is_broken(connection):
            raise _Damaged("its pages do not belong together")
        return connection, problem
    except BaseException:
        connection.close()
        raise


class _Damaged(sqlite3.DatabaseError):
    """The damage that our own check of the file found."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _make_private_file(path: Path) -> None:
    # SQLite gives its side files the mode of this one. It is not opened where it exists: closing any descriptor of a
    # file drops the locks that SQLite holds on it in this process.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"{path.name} is not a regular file")
    if stat.S_IMODE(status.st_mode) != 0o600 and status.st_uid == os.geteuid():
        path.chmod(0o600)


def _set_aside(path: Path) -> str:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            side = path.with_name(path.name + suffix)
            side.rename(path.with_name(f"{path.name}.damaged-{stamp}{suffix}"))
    return f"{path.name}.damaged-{stamp}"


@contextmanager
def _one_opener(directory: Path) -> Iterator[None]:
    """Two processes that find a damaged store must not set aside each other's new one."""
    descriptor = os.open(directory / "opening.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        for left in reversed(range(_OPENING_TRIES)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(_OPENING_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _code(error: BaseException) -> int:
    """SQLite's primary result code; 0 where it gave none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
