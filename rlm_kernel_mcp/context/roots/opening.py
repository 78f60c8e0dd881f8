"""The wall around the context roots: opening what a caller named, and nothing outside.

Is: each file is opened from its root's own descriptor down, following no link, so that nothing that is slipped in
between check and use leads outside. Is not: the roots (`open_roots.py`), the choice of files (`sources.py`), or how a
refusal is worded (`path_errors.py`). Above: `sources.py`, `reading.py`, `by_loader.py`,
`session/evidence/documents.py`. Below: `open_roots.py`, `identity.py`, `path_errors.py`, `pseudo_files.py`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final, NamedTuple

from rlm_kernel_mcp.context.roots.identity import FileIdentity, file_identity, identity_of
from rlm_kernel_mcp.context.roots.open_roots import Allowed, Roots
from rlm_kernel_mcp.context.roots.path_errors import MAX_PATH_BYTES, moved, pseudo_file, unreadable
from rlm_kernel_mcp.context.roots.pseudo_files import is_on_pseudo_filesystem, read_mounts_again
from rlm_kernel_mcp.errors import RequestRefused

_TRIES: Final = 3
"""How many times a path that keeps changing is resolved."""


def resolved(path: str) -> str:
    """The path with every existing link resolved; a part at its end that does not exist stays as it is.

    From Python 3.13 on a link that was replaced while it was read is taken for no link, also in the middle of a path.
    So what is opened is found below its root without following any (`open_below`); here that only decides which error
    there is.

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


def allowed_now(roots: Roots) -> Allowed:
    """The roots as they are at this request, which closes them.

    Raises:
        ContextDenied: they cannot be looked at for a reason that lies elsewhere (no free descriptor, no memory).
    """
    read_mounts_again()
    try:
        return roots.allowed()
    except OSError as error:
        raise _unreadable(roots, error) from error


@contextmanager
def held(roots: Roots) -> Iterator[Roots]:
    """The same roots, open until all of a load's files are read: their connection may end before that.

    Raises:
        ContextDenied: as `allowed_now`.
    """
    try:
        own = roots.held()
    except OSError as error:
        raise _unreadable(roots, error) from error
    with closing(own):
        yield own


def _unreadable(roots: Roots, error: OSError) -> RequestRefused:
    return unreadable(", ".join(path for one in roots.paths for path in one), error)


def open_below(path: str, given: str, allowed: Allowed, *, directory: bool = False) -> int:
    """Open the regular file (or directory) at the resolved `path`, and return a read-only descriptor.

    Never blocks (on a FIFO), and follows no link: it goes from the open root itself down to what is asked for.

    Raises:
        ContextDenied: it is outside the roots, a part of it is a link, or it is not a regular file (not a directory).
        OSError: it cannot be opened.
    """
    if len(os.fsencode(path)) > MAX_PATH_BYTES:  # whoever looks at it by its name later could not
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    # From the root's descriptor, part by part: whatever is renamed meanwhile, what is opened lies below that directory.
    parent, _, name = (path, "", ".") if allowed.is_root(path) else path.rpartition("/")
    try:
        with allowed.directory(parent or "/") as inside:
            if inside is None:
                raise moved(given)
            return _opened(name, given, inside, directory=directory).descriptor
    except NotADirectoryError as error:
        if directory:
            raise
        raise moved(given) from error


class OpenedFile(NamedTuple):
    """An open file, and which file it is."""

    descriptor: int
    identity: FileIdentity
    """Taken when it was opened."""


class FileOpener:
    """Opens regular files one after another. Files in a row from one directory share the check of where that is."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._allowed: Allowed | None = None
        self._directory: str | None = None
        self._descriptor: int | None = None

    def open(self, path: str, given: str) -> OpenedFile:
        """Like `open_below`, for a path that was a regular file when it was found."""
        directory, _, name = path.rpartition("/")
        if directory != self._directory:
            self._leave()
            allowed = self.look()
            try:
                self._descriptor = open_below(directory or "/", given, allowed, directory=True)
            except PermissionError:  # a directory that may be entered, but not listed
                descriptor = open_below(path, given, allowed)
                return OpenedFile(descriptor, file_identity(descriptor))
            self._directory = directory
        try:
            return _open(name, given, directory=False, inside=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # it is a link, or a socket, by now
                raise moved(given) from error
            raise

    def look(self) -> Allowed:
        """The roots that it opens files below, as they are since the first call. Raises: as `allowed_now`."""
        if self._allowed is None:
            self._allowed = allowed_now(self._roots)
        return self._allowed

    def close(self) -> None:
        """Close what is open. Safe to call twice."""
        self._leave()
        allowed, self._allowed = self._allowed, None
        if allowed is not None:
            allowed.close()

    def _leave(self) -> None:
        descriptor, self._descriptor, self._directory = self._descriptor, None, None
        if descriptor is not None:
            os.close(descriptor)


def _opened(name: str, given: str, inside: int, *, directory: bool) -> OpenedFile:
    wanted = stat.S_ISDIR if directory else stat.S_ISREG
    # Merely opening some devices has an effect, so ask first what it is; the answer that counts is that of fstat.
    if not wanted(os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a directory") if directory else moved(given)
    return _open(name, given, directory=directory, inside=inside)


def _open(name: str, given: str, *, directory: bool, inside: int | None) -> OpenedFile:
    wanted = stat.S_ISDIR if directory else stat.S_ISREG
    # NONBLOCK: opening a FIFO would wait for a writer. NOCTTY: a terminal must not become the server's own.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(name, flags | (os.O_DIRECTORY if directory else 0), dir_fd=inside)
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
