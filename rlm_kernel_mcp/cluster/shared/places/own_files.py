"""Files and directories of this user alone, which nobody else has put there, and whose names are durable.

Is: opening without following a link, modes, ownership, syncs. Is not: what is in them. Above: `folder.py`,
`blob_files.py`. Below: the operating system.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def opened(path: Path, flags: int, mode: int = 0o600) -> Iterator[int]:
    """A descriptor of a file of this user. Raises: PermissionError: it is somebody else's, or no file."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
            raise PermissionError(errno.EPERM, "a file there is another user's, or is no file")
        yield descriptor
    finally:
        os.close(descriptor)


def write_new(path: Path, text: bytes, *, is_durable: bool = True, is_named: bool = True) -> None:
    """A small file that is not there yet.

    `is_durable`: wait for its bytes to be on the disk. `is_named`: and for its name.

    Raises:
        FileExistsError.
    """
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        left = memoryview(text)
        while left:
            left = left[os.write(descriptor, left) :]
        if is_durable and text:
            os.fsync(descriptor)
    if is_durable and is_named:
        sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """A directory of this user alone, made durably if it is not there. Raises: PermissionError: it is another's."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(errno.EPERM, "a directory there is another user's, or is open to others") from None
    else:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """The names in it are on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
