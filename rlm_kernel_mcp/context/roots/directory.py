"""One directory below which files may be loaded: its descriptor, which directory it is, and the walk below it.

Is: the directory that was opened, whatever is at its path by now; or the one that a record names, opened when it is
asked for. Is not: which directories allow what (`open_roots.py`). Above: `open_roots.py`. Below: `identity.py`,
`text/printable.py`, the system (Linux: /proc, macOS: F_GETPATH).
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.context.roots.identity import FileNumber
from rlm_kernel_mcp.text.printable import printable

log = logging.getLogger(__name__)

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_ONLY_A_PLACE: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""With O_PATH a directory that may be entered, but not listed, is opened too."""
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES})
_OF_THE_PROCESS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_NONE: Final = (0, 0)
"""The number of no directory: what was not there when it was to be opened stays nothing, in a record too."""
_turns: Final = threading.Lock()
"""Nobody takes a copy of a descriptor while it is closed: its number may be another file's at once."""


class Root:
    """One directory: open, until it is closed; or known by what a record keeps of it, and opened at each request."""

    def __init__(self, path: str, number: FileNumber | None, boot: str, descriptor: int | None = None) -> None:
        self.path = path
        """As the system named it when it was opened."""
        self.number = number
        """Which directory it is; (0, 0): none; None: what is at its path, as a record that does not say has it."""
        self._boot = boot
        self._descriptor = descriptor
        self._is_recorded = descriptor is None

    @classmethod
    def of(cls, path: Path | str) -> Root:
        """Open a directory, of which all links are followed now; one that is not there allows nothing, for good.

        Raises:
            OSError: this process has no free descriptor, no memory or no /proc: that says nothing about the directory.
        """
        try:
            descriptor = os.open(path, _ONLY_A_PLACE)
            try:
                os.fstat(descriptor)  # a network file system that is gone can be opened as a place, and not looked at
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            raise_if_of_the_process(error)
            if error.errno not in _NOT_THERE:  # such as a network file system that is gone
                log.warning("%s is out of reach, and allows nothing: %s", printable(str(path)), error.strerror)
            absent = cls(str(path), _NONE, "")
            absent.close()
            return absent
        return cls.of_descriptor(descriptor)

    @classmethod
    def of_descriptor(cls, descriptor: int) -> Root:
        """A directory that somebody else has opened. The descriptor is this object's from now on."""
        try:
            status = os.fstat(descriptor)
            return cls(path_of(descriptor), (status.st_dev, status.st_ino), boot_id(), descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def of_record(cls, path: str, kept: Sequence[Any] | None) -> Root:
        """The directory that a record names. `kept`: as `kept` gives it; None: whichever is at the path."""
        if kept is None:
            return cls(path, None, "")
        device, inode, boot = kept
        return cls(path, (int(device), int(inode)), str(boot))

    @property
    def kept(self) -> tuple[int, int, str] | None:
        """What a record keeps beside the path."""
        return None if self.number is None else (*self.number, self._boot)

    def close(self) -> None:
        """It allows nothing from now on, but to the requests that have it. Safe to call twice."""
        with _turns:
            descriptor, self._descriptor, self._is_recorded = self._descriptor, None, False
            if descriptor is not None:
                os.close(descriptor)

    def held(self) -> Root:
        """The same directory, open until this one is closed. Raises: OSError: as `taken`."""
        with _turns:
            copied = None if self._descriptor is None else os.dup(self._descriptor)
            one = Root(self.path, self.number, self._boot, copied)
            one._is_recorded = self._is_recorded
            return one

    def taken(self) -> int | None:
        """A descriptor of it, which the caller closes; None where it is not there, or is another directory by now.

        Raises:
            OSError: this process has no free descriptor or no memory, which says nothing about the directory.
        """
        if self.number == _NONE:
            return None
        with _turns:
            if self._descriptor is not None:
                return os.dup(self._descriptor)
        return self._opened_again() if self._is_recorded else None

    def _opened_again(self) -> int | None:
        """By its path, of which no part may be a link, since it had none when it was written down."""
        try:
            descriptor = walked(None, self.path.split("/"))
        except OSError as error:
            raise_if_of_the_process(error)
            return None
        with suppress(OSError):  # as in `of`
            if self.number is None or self._is(os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)
        return None

    def _is(self, status: os.stat_result) -> bool:
        device, inode = self.number or (0, 0)
        # Many a file system gets another device number when the machine starts; where it does not say which run of it
        # this is, any may be another one.
        is_same_run = bool(self._boot) and self._boot == boot_id()
        return inode == status.st_ino and (device == status.st_dev or not is_same_run)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Root) and (self.path, self.number) == (other.path, other.number)

    def __hash__(self) -> int:
        return hash((self.path, self.number))

    def __repr__(self) -> str:
        return f"Root({self.path!r}, {self.number})"


def is_of_the_process(error: OSError) -> bool:
    """Whether an error says nothing about the file or directory: no free descriptor, no memory."""
    return error.errno in _OF_THE_PROCESS


def raise_if_of_the_process(error: OSError) -> None:
    """Raise an error that says nothing about the file or directory."""
    if is_of_the_process(error):
        raise error


def path_of(descriptor: int) -> str:
    """What the system calls an open file or directory just now.

    Raises:
        OSError: the system does not say: /proc is not mounted, or is hidden from this process.
    """
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, b"\0" * 1024).rstrip(b"\0"))
    link = f"/proc/self/fd/{descriptor}"
    try:
        return os.readlink(link)  # noqa: PTH115 (strings: one call a file)
    except OSError as error:
        fault = "/proc does not say what an open directory is called; it must be mounted, and not hidden"
        raise OSError(error.errno, f"{fault} ({error.strerror})", link) from error


@cache
def boot_id() -> str:
    """Which run of the machine this is."""
    with suppress(OSError):
        return Path(_BOOT_ID).read_text(encoding="ascii").strip()
    return ""


def walked(start: int | None, names: Iterable[str]) -> int:
    """The directory so many names below another one (None: below `/`), opened part by part, following no link.

    Raises:
        OSError: ENOTDIR if a part is a link, or no directory.
    """
    descriptor = os.open("/", _ONLY_A_PLACE) if start is None else os.dup(start)
    try:
        for name in names:
            if name == "..":
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            if name:
                inner = os.open(name, _ONLY_A_PLACE | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
