"""The wall around the context roots: opening what a caller named, and nothing outside.

Is: the check that a path lies below an allowed root, made on the opened descriptor itself, so that a link
slipped in between check and use cannot lead out. Is not: the choice of files (`sources.py`).
Above: `sources.py`, `reading.py`, `by_loader.py`. Below: `documents.py`, the system (Linux: /proc, macOS: F_GETPATH).
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rlm_kernel_mcp.context.documents import FileIdentity, file_identity, identity_of
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, InvalidInput, RequestRefused
from rlm_kernel_mcp.text.printable import printable

MAX_PATH_BYTES: Final = 4_095
"""Longest path that is looked at (Linux's PATH_MAX without its NUL)."""
_SHOWN_CHARS: Final = 200
_TRIES: Final = 3
"""How often a path that changes meanwhile is resolved again."""
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES})
_REPLACED: Final = "it was replaced while it was looked at"
_ROOTS_SHOWN: Final = 5
_DENIED_CAUSES: Final = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "input/output error",
    errno.EINVAL: _REPLACED,
    errno.ESTALE: _REPLACED,
}
_KERNELS_OWN: Final = frozenset(
    """
    autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts efivarfs fusectl mqueue nfsd nsfs proc pstore
    rpc_pipefs securityfs selinuxfs sysfs tracefs
    """.split()  # noqa: SIM905 (twenty-one words)
)
"""File systems without files of anybody's."""
_MISSING_CAUSES: Final = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist: a part of it that should be a directory is a file",
    errno.ELOOP: "leads to no file: its links lead in a circle",
}


def quoted(text: str) -> str:
    """A path as a message may show it: quoted, unprintable characters escaped, at most 200 characters."""
    name = printable(text)
    return f"'{name}'" if len(name) <= _SHOWN_CHARS else f"'{name[:_SHOWN_CHARS]}…' ({len(text):,} characters)"


def checked(given: object) -> str:
    """A path as the caller gave it, once it is one that the operating system can be asked about.

    Raises:
        InvalidInput: not a text, empty, with a NUL, longer than 4,095 bytes, or with a lone surrogate.
    """
    if not isinstance(given, str):
        raise InvalidInput(f"context_paths holds a value of type {type(given).__name__}; each path is a string.")
    if not given:
        raise InvalidInput("context_paths holds an empty path.")
    if "\0" in given:
        raise InvalidInput(f"The path {quoted(given)} holds a NUL character, which no file name has.")
    try:
        length = len(os.fsencode(given))
    except UnicodeEncodeError as error:
        raise InvalidInput(f"The path {quoted(given)} holds a lone surrogate, which no file name has.") from error
    if length > MAX_PATH_BYTES:
        raise InvalidInput(f"The path {quoted(given)} is {length:,} bytes long; the limit is {MAX_PATH_BYTES:,} bytes.")
    return given


def resolved(path: str) -> str:
    """The path with every link followed that is there; what is missing at its end stays as it is.

    Raises:
        OSError: EINVAL where a link was replaced while it was read, time and again; ELOOP for a chain without end.
    """
    for left in reversed(range(_TRIES)):
        try:
            return os.path.realpath(path)
        except RecursionError as error:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error
        except OSError:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def canonical_roots(roots: Sequence[Path]) -> tuple[str, ...]:
    """The roots as the operating system names them; one that is not there now allows nothing.

    Raises:
        ContextDenied: a root cannot be looked at, for a reason that is not its own (no descriptor, no memory).
    """
    _kernels_devices.cache_clear()  # once a request: what is mounted changes
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
    except PermissionError:  # it may be entered without being listed
        return resolved(str(root))
    try:
        return _path_of(descriptor)
    finally:
        os.close(descriptor)


def is_below(path: str, roots: Sequence[str]) -> bool:
    """Whether a resolved path is one of the roots or lies below one."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def open_below(path: str, given: str, roots: Sequence[str], *, directory: bool = False) -> int:
    """A read-only descriptor of the regular file (or directory) at the resolved `path`.

    Never waits (FIFO), follows no link at the end, and asks the descriptor itself where it lies.

    Raises:
        ContextDenied: what was opened lies outside the roots, or is not a regular file (not a directory).
        OSError: it cannot be opened.
    """
    descriptor = _opened(path, given, directory=directory).descriptor
    if not is_below(_path_of(descriptor), roots):
        os.close(descriptor)
        raise _moved(given)
    return descriptor


class OpenedFile(NamedTuple):
    """An open file, and which it is."""

    descriptor: int
    identity: FileIdentity
    """As it was when it was opened."""


class FileOpener:
    """Opens regular files one after another; of those in one directory, that alone is asked where it lies."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots
        self._directory: str | None = None
        self._descriptor: int | None = None

    def open(self, path: str, given: str) -> OpenedFile:
        """As `open_below`, of a path that was a regular file when it was found."""
        directory, _, name = path.rpartition("/")
        if directory != self._directory:
            self.close()
            try:
                self._descriptor = open_below(directory or "/", given, self._roots, directory=True)
            except PermissionError:  # it may be entered without being listed
                descriptor = open_below(path, given, self._roots)
                return OpenedFile(descriptor, file_identity(descriptor))
            self._directory = directory
        try:
            return _open(name, given, directory=False, inside=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, or a socket, by now
                raise _moved(given) from error
            raise

    def close(self) -> None:
        """Give the directory's descriptor back. Safe to call twice."""
        descriptor, self._descriptor, self._directory = self._descriptor, None, None
        if descriptor is not None:
            os.close(descriptor)


def _opened(path: str, given: str, *, directory: bool) -> OpenedFile:
    wanted = stat.S_ISDIR if directory else stat.S_ISREG
    # Opening some devices has an effect of its own, so ask first what it is; the answer that counts is fstat's.
    if not wanted(os.stat(path, follow_symlinks=False).st_mode):  # noqa: PTH116 (strings: one call a file)
        raise NotADirectoryError(errno.ENOTDIR, "not a directory") if directory else _moved(given)
    return _open(path, given, directory=directory)


def _open(path: str, given: str, *, directory: bool, inside: int | None = None) -> OpenedFile:
    wanted = stat.S_ISDIR if directory else stat.S_ISREG
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags | (os.O_DIRECTORY if directory else 0), dir_fd=inside)
    try:
        status = os.fstat(descriptor)
        if is_kernels(status.st_dev):
            raise made_up(given)
        if not wanted(status.st_mode):
            raise _moved(given)
    except BaseException:
        os.close(descriptor)
        raise
    return OpenedFile(descriptor, identity_of(status))


def _moved(given: str) -> ContextDenied:
    return ContextDenied(f"{quoted(given)} was replaced while it was opened; it is no longer what was asked for.")


def common_roots(ours: Sequence[str], theirs: Sequence[str]) -> tuple[str, ...]:
    """The directories below which everything is allowed by both. Raises: as `canonical_roots`."""
    one, other = canonical_roots([Path(root) for root in ours]), canonical_roots([Path(root) for root in theirs])
    below = [root for root in one if is_below(root, other)] + [root for root in other if is_below(root, one)]
    return tuple(dict.fromkeys(below))


def outside(given: str, roots: Sequence[str]) -> ContextDenied:
    """The error for a path outside the roots; it names them, which are the user's own setting."""
    named = ", ".join(quoted(root) for root in roots[:_ROOTS_SHOWN]) or "none that is there"
    more = f" and {len(roots) - _ROOTS_SHOWN:,} more" if len(roots) > _ROOTS_SHOWN else ""
    return ContextDenied(f"{quoted(given)} lies outside the allowed roots, which are {named}{more}.")


def is_kernels(device: int) -> bool:
    """Whether files of this device number are no files of anybody, but made up by the operating system (/proc, /sys).

    They have no size, change with each look, and some tell what is the server's own: its environment, its memory.
    """
    # What lies on a disk has a driver's number; the others are asked about once in a request.
    return os.major(device) == 0 and device in _kernels_devices()


@functools.cache
def _kernels_devices() -> frozenset[int]:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:  # noqa: PTH123 (as above)
            return frozenset(number for line in mounts if (number := _kernels_device(line)) is not None)
    except FileNotFoundError:  # no Linux
        return frozenset()


def _kernels_device(mount: str) -> int | None:
    """The device number of a line of mountinfo, if its file system is one of the kernel's own."""
    before, _, after = mount.partition(" - ")
    fields, kind = before.split(" "), after.split(" ", 1)[0]
    major, _, minor = fields[2].partition(":") if len(fields) > 2 else ("", "", "")
    return os.makedev(int(major), int(minor)) if kind in _KERNELS_OWN and major.isdecimal() else None


def made_up(given: str) -> ContextDenied:
    """The error for a path below /proc and its like."""
    return ContextDenied(
        f"{quoted(given)} is made up by the operating system (/proc, /sys and their like); a context is read from "
        "regular files.",
        "Give the path of a regular file or of a directory.",
    )


def unreadable(given: str, error: OSError) -> RequestRefused:
    """The error for a path that the caller named and that could not be opened."""
    if error.errno in _MISSING_CAUSES:
        return ContextNotFound(f"{quoted(given)} {_MISSING_CAUSES[error.errno]}.")
    if error.errno == errno.ENAMETOOLONG:
        return InvalidInput(f"The path {quoted(given)} is longer than this file system allows.")
    return ContextDenied(
        f"{quoted(given)} cannot be read: {cause(error)}.",
        "Ask the user to make it readable for the server, or give another path.",
    )


def cause(error: OSError) -> str:
    """Why a file could not be read, in a few words that hold no path."""
    missing = {errno.ENOENT: "gone", errno.ELOOP: "a circle of links", errno.ENOTDIR: "gone"}
    number = error.errno or 0
    return _DENIED_CAUSES.get(number) or missing.get(number) or os.strerror(number).lower()


def kind_of(mode: int) -> str:
    """What an entry that is neither file nor directory is called."""
    kinds = (
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((name for test, name in kinds if test(mode)), "no regular file")


def _path_of(descriptor: int) -> str:
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, b"\0" * 1024).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 (strings: one call a file)
