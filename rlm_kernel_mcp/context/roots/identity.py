"""Which file it is, and how a change to it is recognized.

Is: data, from a look at a descriptor. Is not: reading. Above: `opening.py`, `documents.py`, `reading.py`,
`session/contexts/changes.py`. Below: the system.
"""

from __future__ import annotations

import os
from typing import NamedTuple

FileNumber = tuple[int, int]
"""Which file it is, as long as it is there: device and inode."""


class FileIdentity(NamedTuple):
    """Which file it is, and what changes when the file is written to."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class FileState(NamedTuple):
    """What changes when a file is written to."""

    size: int
    modified_ns: int
    changed_ns: int


def file_state(descriptor: int) -> FileState:
    """The state of an open file now."""
    status = os.fstat(descriptor)
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def file_identity(descriptor: int) -> FileIdentity:
    """Which file a descriptor has open, with its state now."""
    return identity_of(os.fstat(descriptor))


def identity_of(status: os.stat_result) -> FileIdentity:
    """Like `file_identity`, from a result of `os.stat`."""
    return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
