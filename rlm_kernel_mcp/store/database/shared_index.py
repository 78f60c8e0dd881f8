"""The file through which processes share the index of the store's log: kept as long as SQLite has it mapped.

Is: a check before each use of the store. To truncate that file under a live process would end the process by SIGBUS at
its next access; filled with zeros again it is an index that was never built, and SQLite rebuilds it from the log. Is
not: a wall: a truncation between the check and the access is not seen. Above: `database.py`, `apart.py`. Below: the
file system.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


class SharedIndex:
    """The index beside one store."""

    def __init__(self, store: Path) -> None:
        self._path = f"{store}-shm"
        self._known: tuple[int, int] = (0, 0)
        """Number of the inode, and the largest size seen of it."""

    def keep(self) -> None:
        """Give the file its size back, if somebody has truncated it."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 (a path's own way takes twice as long, at each write)
            inode, size = self._known
            if found.st_ino == inode and found.st_size < size:
                log.warning("%s was cut off by another program; it is made again", Path(self._path).name)
                os.truncate(self._path, size)  # by path: closing a descriptor of it would drop SQLite's locks
            else:
                self._known = found.st_ino, found.st_size
        except OSError:
            return
