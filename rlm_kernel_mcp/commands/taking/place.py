"""A directory of a person's, into which files are written that did not exist there before.

Is: new files below an open directory, in directories that are opened or made one by one, through no link; and the
removal of one that did not come whole. Is not: which names (`names.py`), nor where the bytes come from. Above:
`commands/files.py`. Below: `both_sides/whole_writes.py`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.both_sides.whole_writes import write_at

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""O_EXCL: nothing that is there is written to, and a link that is there is not followed."""
MODE: Final = 0o666
"""Less what the person's umask takes; never a program."""


class NewFile:
    """One file that is being written. It stays if `is_whole` is set by then."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = 0
        self.is_whole = False

    def write(self, data: bytes) -> None:
        """Append. Raises: OSError."""
        write_at(self._descriptor, data, self._size_bytes)
        self._size_bytes += len(data)


class TakingPlace:
    """The directory. It is the person's own, and may be reached by a link; below it none is followed."""

    def __init__(self, directory: Path) -> None:
        """Open it, and make it where it is missing. Raises: OSError."""
        directory.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._descriptor)

    @contextmanager
    def new_file(self, path: Sequence[str]) -> Iterator[NewFile]:
        """A file that is new; one that is not whole at the end is removed.

        Raises:
            OSError: there is such a file already, or a link, or it cannot be made.
        """
        *directories, name = path
        with self._opened(directories) as parent:
            descriptor = os.open(name, _NEW, MODE, dir_fd=parent)
            made = NewFile(descriptor)
            try:
                yield made
            finally:
                os.close(descriptor)
                if not made.is_whole:
                    with contextlib.suppress(FileNotFoundError):  # the person was faster
                        os.unlink(name, dir_fd=parent)

    @contextmanager
    def _opened(self, directories: Sequence[str]) -> Iterator[int]:
        descriptor = os.dup(self._descriptor)
        try:
            for name in directories:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
                below = os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)
