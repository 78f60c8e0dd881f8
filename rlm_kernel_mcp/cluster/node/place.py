"""The directory of a node's own: what it has on its own disk of the sessions that it drives just now.

Is: a directory for each process, which is gone with it, and the removal of what killed ones left. Is not: what is kept:
that is in the shared store, and what lies here is a copy. Above: `host.py`. Below: the file system.

Nothing that an earlier process wrote is ever opened: another node may have gone on with those sessions since.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

NODES: Final = "nodes"
LOCK: Final = ".lock"
"""Suffix of the file beside a directory that its process holds locked."""


class NodePlace:
    """The directory of one process."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self._descriptor = descriptor

    @classmethod
    def made(cls, state_dir: Path, node: str) -> Self:
        """Make one, and remove those whose processes have ended. Blocking. Raises: OSError."""
        parent = state_dir / NODES
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(parent)
        directory = parent / f"{node}-{secrets.token_hex(4)}"
        descriptor = os.open(_lock_of(directory), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            directory.mkdir(mode=0o700)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(directory, descriptor)

    def remove(self) -> None:
        """The process needs it no more. Blocking. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            _remove(self.directory)
            os.close(descriptor)


def _sweep(parent: Path) -> None:
    """Remove the directories whose locks nobody holds; of one that just begins, the lock is held or there is none."""
    for lock in parent.glob(f"*{LOCK}"):
        with suppress(OSError):
            descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock.with_name(lock.name.removesuffix(LOCK)))
            finally:
                os.close(descriptor)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    _lock_of(directory).unlink(missing_ok=True)


def _lock_of(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}{LOCK}")
