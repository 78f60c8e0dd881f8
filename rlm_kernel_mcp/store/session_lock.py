"""A lock on one session across all server processes, which is released when its holder dies.

Is: one file a session, locked with flock; the holder's process id stands in it for others to read. Is not: the
lock of a step (`session/session.py`). Above: `store.py`. Below: the file system.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.store.database.file import make_private_directory

DIRECTORY_NAME: Final = "locks"

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TRIES: Final = 4
_PAUSE_S: Final = 0.001
_LOOKS_S: Final = 1.0
"""How long whoever only looks may keep a lock that no living process has: on a busy machine, or stopped."""
_turn: Final = threading.Lock()
"""Threads of one process take turns at the files: one that only looks or sweeps, and waits for the interpreter
meanwhile, would be taken for another server."""


class SessionLock:
    """Held until `release`, or until this process ends, however it ends."""

    def __init__(self, session_id: str, path: Path | None = None, descriptor: int | None = None) -> None:
        self.session_id = session_id
        self._path = path
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others have the session. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None or self._path is None:
            return
        # Removed while it is still locked: whoever opened it before sees that it is no longer the one in the directory.
        with suppress(OSError):
            self._path.unlink()
        os.close(descriptor)


def take_lock(state_dir: Path, session_id: str) -> SessionLock | None:
    """Lock a session; None if another process, or another store of this one, has it.

    Raises:
        InvalidInput: no session can have this id. OSError: the directory cannot hold locks.
    """
    path = _path(state_dir, session_id)
    make_private_directory(path.parent)
    with _turn:
        return _taken(path, session_id)


def _taken(path: Path, session_id: str) -> SessionLock | None:
    tries, end = 0, time.monotonic() + _LOOKS_S
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            # The file may have been removed between open and flock; then this lock is on a file that nobody else will
            # find.
            if _try_lock(descriptor, fcntl.LOCK_EX) and _is_at(path, descriptor):
                os.fchmod(descriptor, 0o600)
                # The number of an earlier holder may be longer than ours.
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                lock = SessionLock(session_id, path, descriptor)
                descriptor = -1
                return lock
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        tries += 1
        if tries >= _TRIES and (time.monotonic() > end or _lives(path)):
            return None
        time.sleep(_PAUSE_S)  # it may only have been somebody who looked at who holds it


def _lives(path: Path) -> bool:
    """Whether the process lives that is written in a lock's file."""
    with suppress(OSError):
        written = path.read_bytes()
        if written.isdigit():
            state = Path(f"/proc/{int(written)}/stat").read_bytes().rpartition(b")")[2].split()[0]
            return state not in b"ZX"
    return False


def holder_of(state_dir: Path, session_id: str) -> int | None:
    """Process id of the holder of a session's lock; None if nobody holds it, 0 if the file does not say who."""
    try:
        descriptor = os.open(_path(state_dir, session_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with _turn:
        try:
            for _ in range(_TRIES):
                if _try_lock(descriptor, fcntl.LOCK_SH):
                    return None
                if (written := os.pread(descriptor, 20, 0)).isdigit():
                    return int(written)
                time.sleep(_PAUSE_S)  # it has just been taken
            return 0
        finally:
            os.close(descriptor)


def sweep_locks(state_dir: Path) -> None:
    """Remove the lock files that killed processes left."""
    for path in (state_dir / DIRECTORY_NAME).glob("*.lock"):
        with _turn:
            if _SESSION_ID.fullmatch(path.stem) and (lock := _taken(path, path.stem)):
                lock.release()


def _path(state_dir: Path, session_id: str) -> Path:
    if not _SESSION_ID.fullmatch(session_id):
        raise InvalidInput(f"{session_id[:80]!r} is not a session id.")
    return state_dir / DIRECTORY_NAME / f"{session_id}.lock"


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
