"""The wall around the context roots: opening what a caller named, and nothing outside.

Is: the check that a path is below an allowed root, made on the opened descriptor itself, so that a link that is
slipped in between check and use cannot lead outside. Is not: the choice of files (`sources.py`), or how a refusal is
worded (`path_errors.py`). Above: `sources.py`, `reading.py`, `by_loader.py`, `session/evidence/documents.py`. Below:
`identity.py`, `path_errors.py`, `pseudo_files.py`, the system (Linux: /proc, macOS: F_GETPATH).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rlm_kernel_mcp.context.roots.identity import FileIdentity, file_identity, identity_of
from rlm_kernel_mcp.context.roots.path_errors import moved, pseudo_file, unreadable
from rlm_kernel_mcp.context.roots.pseudo_files import is_on_pseudo_filesystem, read_mounts_again

_TRIES: Final = 3
"""How many times a path that keeps changing is resolved."""
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES})


def resolved(path: str) -> str:
    """The path with every existing link resolved; a part at its end that does not exist stays as it is.

    From Python 3.13 on a link that was replaced while it was read is taken for no link, also in the middle of a path.
    So what is opened says itself where it is (`open_below`); here that only decides which error there is.

    Raises:
        OSError: EINVAL if a link was replaced each time it was read; ELOOP if the links form a circle.
    """
    for left in reversed(range(_TRIES)):
        try:
            real = os.path.realpath(path)
            if not os.path.islink(real):  # noqa: PTH114 (strings, as everywhere here)
                return real
            os.stat(real)  # noqa: PTH116 (raises ELOOP where links form a circle)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        except RecursionError as error:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error
        except OSError as error:
            if not left or error.errno == errno.ELOOP:
                raise
    raise AssertionError("the last try returns or raises")


def canonical_roots(roots: Sequence[Path]) -> tuple[str, ...]:
    """The roots as the operating system names them; one that does not exist now allows nothing.

    Raises:
        ContextDenied: a root cannot be looked at for a reason that lies elsewhere (no free descriptor, no memory).
    """
    read_mounts_again()
    found = []
    for root in roots:
        try:
            found.append(_canonical(root))
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise unreadable(str(root), error) from error
    return tuple(found)


def _canonical(root: Path) -> str:
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # a directory that may be entered, but not listed
        return resolved(str(root))
    try:
        return _path_of(descriptor)
    finally:
        os.close(descriptor)


def is_below(path: str, roots: Sequence[str]) -> bool:
    """Whether a resolved path is one of the roots or is below one."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def open_below(path: str, given: str, roots: Sequence[str], *, directory: bool = False) -> int:
    """Open the regular file (or directory) at the resolved `path`, and return a read-only descriptor.

    Never blocks (on a FIFO), does not follow a link at the end, and asks the descriptor itself where its file is.

    Raises:
        ContextDenied: what was opened is outside the roots, or is not a regular file (not a directory).
        OSError: it cannot be opened.
    """
    # Opened first and checked then: a check before the open could be overtaken by a rename (TOCTOU).
    descriptor = _opened(path, given, directory=directory).descriptor
    if not is_below(_path_of(descriptor), roots):
        os.close(descriptor)
        raise moved(given)
    return descriptor


class OpenedFile(NamedTuple):
    """An open file, and which file it is."""

    descriptor: int
    identity: FileIdentity
    """Taken when it was opened."""


class FileOpener:
    """Opens regular files one after another. Files in a row from one directory share the check of where that is."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots
        self._directory: str | None = None
        self._descriptor: int | None = None

    def open(self, path: str, given: str) -> OpenedFile:
        """Like `open_below`, for a path that was a regular file when it was found."""
        directory, _, name = path.rpartition("/")
        if directory != self._directory:
            self.close()
            try:
                self._descriptor = open_below(directory or "/", given, self._roots, directory=True)
            except PermissionError:  # a directory that may be entered, but not listed
                descriptor = open_below(path, given, self._roots)
                return OpenedFile(descriptor, file_identity(descriptor))
            self._directory = directory
        try:
            return _open(name, given, directory=False, inside=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # it is a link, or a socket, by now
                raise moved(given) from error
            raise

    def close(self) -> None:
        """Close the directory's descriptor. Safe to call twice."""
        descriptor, self._descriptor, self._directory = self._descriptor, None, None
        if descriptor is not None:
            os.close(descriptor)


def _opened(path: str, given: str, *, directory: bool) -> OpenedFile:
    wanted = stat.S_ISDIR if directory else stat.S_ISREG
    # Merely opening some devices has an effect, so ask first what it is; the answer that counts is that of fstat.
    if not wanted(os.stat(path, follow_symlinks=False).st_mode):  # noqa: PTH116 (strings: one call a file)
        raise NotADirectoryError(errno.ENOTDIR, "not a directory") if directory else moved(given)
    return _open(path, given, directory=directory)


def _open(path: str, given: str, *, directory: bool, inside: int | None = None) -> OpenedFile:
    wanted = stat.S_ISDIR if directory else stat.S_ISREG
    # NONBLOCK: opening a FIFO would wait for a writer. NOCTTY: a terminal must not become the server's own.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags | (os.O_DIRECTORY if directory else 0), dir_fd=inside)
    try:
        status = os.fstat(descriptor)
        if is_on_pseudo_filesystem(status.st_dev):
            raise pseudo_file(given)
        if not wanted(status.st_mode):
            raise moved(given)
    except BaseException:
        os.close(descriptor)
        raise
    return OpenedFile(descriptor, identity_of(status))


def common_roots(ours: Sequence[str], theirs: Sequence[str]) -> tuple[str, ...]:
    """The directories below which both sets of roots allow everything. Raises: as `canonical_roots`."""
    one, other = canonical_roots([Path(root) for root in ours]), canonical_roots([Path(root) for root in theirs])
    below = [root for root in one if is_below(root, other)] + [root for root in other if is_below(root, one)]
    return tuple(dict.fromkeys(below))


def _path_of(descriptor: int) -> str:
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, b"\0" * 1024).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 (strings: one call a file)
