"""One document of a context, and what tells that its file was written to.

Is: data. Is not: reading. Above: `reading.py`, `by_loader.py`, `session/contexts/changes.py`. Below: `context_wire.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

from rlm_kernel_mcp.context_wire import Layout


class FileIdentity(NamedTuple):
    """Which file it is, and what changes when it is written to."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(slots=True)  # not frozen, which takes three times as long to make: there may be 200,000
class Document:
    """One document of a payload. `encoding` is a Python codec, `errors` how it is to be decoded with it."""

    name: str
    byte_count: int
    encoding: str
    undecodable_bytes: int = 0
    errors: str = "strict"
    layout: Layout | None = field(default=None, compare=False)
    """How its characters lie in its bytes; None: they have to be decoded."""
    path: str | None = field(default=None, compare=False)
    """The file, with all links resolved; None of an inline text. What cites the document reads there."""
    identity: FileIdentity | None = field(default=None, compare=False)
    """Which file it was, and as it was when it was opened; None of an inline text."""


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
    """Which file it is, with its state now."""
    return identity_of(os.fstat(descriptor))


def identity_of(status: os.stat_result) -> FileIdentity:
    """As `file_identity`, of what the system said."""
    return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
