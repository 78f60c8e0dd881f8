"""Context roots as open directories: what a connection may load lies below the directories that were opened for it.

Is: the descriptors, which directory each is, what a record keeps of them, and the walk below one, which follows no
link. A root that is renamed, or replaced by a link or another directory, is still the directory that was opened, or
nothing (docs/decisions/0116-roots-are-open-directories.md). Is not: opening a file
(`opening.py`). Above: `opening.py`, `sources.py`, the session. Below: `identity.py`, the system (Linux: /proc, macOS:
F_GETPATH).
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from rlm_kernel_mcp.context.roots.identity import FileNumber

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_ONLY_A_PLACE: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""With O_PATH a directory that may be entered, but not listed, is opened too."""
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES})
_opening: Final = threading.Lock()


class Root:
    """One directory, open until nobody has it any more."""

    def __init__(self, path: str, number: FileNumber | None, boot: str, descriptor: int | None = None) -> None:
        self.path = path
        """As the system named it when it was opened."""
        self.number = number
        """Which directory it is; None: it could not be opened, or a record from before this was kept says nothing."""
        self._boot = boot
        self._descriptor = descriptor
        self._is_recorded = descriptor is None

    @classmethod
    def of(cls, path: Path | str) -> Root:
        """Open a directory, of which all links are followed now; one that is not there allows nothing, for good.

        Raises:
            OSError: it cannot be opened for a reason that lies elsewhere (no free descriptor, no memory).
        """
        try:
            return cls.of_descriptor(os.open(path, _ONLY_A_PLACE))
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            absent = cls(str(path), None, "")
            absent._is_recorded = False
            return absent

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
        """The directory that a record names; it is opened when it is asked for. `kept`: as `kept` gives it."""
        if kept is None:
            return cls(path, None, "")
        device, inode, boot = kept
        return cls(path, (int(device), int(inode)), str(boot))

    @property
    def kept(self) -> tuple[int, int, str] | None:
        """What a record keeps beside the path."""
        return None if self.number is None else (*self.number, self._boot)

    def descriptor(self) -> int | None:
        """The open directory; None where there is none, or where another one is at its path by now. Raises: OSError."""
        if self._descriptor is None and self._is_recorded:
            with _opening:
                if self._descriptor is None:
                    self._descriptor = self._opened_again()
        return self._descriptor

    def _opened_again(self) -> int | None:
        """By its path, of which no part may be a link, since it had none when it was written down."""
        try:
            descriptor = _walked(None, self.path.split("/"))
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            return None
        status = os.fstat(descriptor)
        if self.number is None or self._is(status):
            self.number, self._boot = (status.st_dev, status.st_ino), boot_id()
            return descriptor
        os.close(descriptor)
        return None

    def _is(self, status: os.stat_result) -> bool:
        device, inode = self.number or (0, 0)
        # Many a file system gets another device number when it is mounted anew.
        return inode == status.st_ino and (device == status.st_dev or self._boot != boot_id())

    def path_now(self) -> str | None:
        """What the system calls it just now; None where it is not there any more."""
        descriptor = self.descriptor()
        if descriptor is None or not os.fstat(descriptor).st_nlink:
            return None
        path = path_of(descriptor)
        return path if path.startswith("/") else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Root) and (self.path, self.number) == (other.path, other.number)

    def __hash__(self) -> int:
        return hash((self.path, self.number))

    def __repr__(self) -> str:
        return f"Root({self.path!r}, {self.number})"

    def __del__(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


class Allowed(NamedTuple):
    """Roots as the system names them just now: for one request."""

    roots: tuple[tuple[str, Root], ...]
    """The path of each that is there, and it."""
    lost: tuple[str, ...] = ()
    """The paths of those that are not: moved, removed or replaced since they were opened."""

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for path, _ in self.roots)

    def has(self, path: str) -> bool:
        """Whether a resolved path is one of the roots or is below one, by its name."""
        return any(is_below(path, root) for root, _ in self.roots)

    def is_root(self, path: str) -> bool:
        """Whether it is the path of one of the roots."""
        return path in self.paths

    @contextmanager
    def directory(self, path: str) -> Iterator[int | None]:
        """The directory at a resolved path, below the open root itself, as a place (O_PATH); None if it is outside.

        Raises:
            OSError: it is not there; ENOTDIR if a part of it is a link by now.
        """
        found = next(((start, root) for start, root in self.roots if is_below(path, start)), None)
        if found is None:
            yield None
            return
        start, root = found
        place = root.descriptor()
        if place is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        descriptor = _walked(place, path[len(start.rstrip("/")) :].split("/"))
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class Roots(NamedTuple):
    """What is allowed lies below one directory of each of these sets. No set: nothing is."""

    sets: tuple[tuple[Root, ...], ...] = ()

    @classmethod
    def of(cls, *paths: Path | str) -> Roots:
        """One set, opened now. One that cannot be opened allows nothing."""
        return cls((tuple(map(Root.of, paths)),))

    @classmethod
    def of_descriptors(cls, descriptors: Iterable[int]) -> Roots:
        """One set, of directories that somebody else has opened. They are this object's from now on."""
        return cls((tuple(map(Root.of_descriptor, descriptors)),))

    @classmethod
    def of_record(cls, paths: Sequence[Sequence[str]], kept: Sequence[Sequence[Any]] | None) -> Roots | None:
        """As a record has them; None if it has none. `kept`: of each what `Root.kept` gave; None in an old record."""
        if not paths:
            return None
        told = kept if kept is not None else [[None] * len(one) for one in paths]
        return cls(
            tuple(
                tuple(Root.of_record(str(path), row) for path, row in zip(one, rows, strict=True))
                for one, rows in zip(paths, told, strict=True)
            )
        )

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """The path of each."""
        return tuple(tuple(root.path for root in one) for one in self.sets)

    @property
    def kept(self) -> tuple[tuple[tuple[int, int, str] | None, ...], ...]:
        """What a record keeps of each beside that."""
        return tuple(tuple(root.kept for root in one) for one in self.sets)

    def put_down(self) -> Roots:
        """The same, of which none is open: each is opened again when it is asked for, as from a record."""
        return Roots(tuple(tuple(Root.of_record(root.path, root.kept) for root in one) for one in self.sets))

    def within(self, other: Roots | None) -> Roots:
        """What these and the others allow."""
        return self if other is None else Roots(tuple(dict.fromkeys((*other.sets, *self.sets))))

    def allowed(self) -> Allowed:
        """As they are just now. Raises: OSError: no descriptor is free."""
        now = [[(path, root) for root in one if (path := root.path_now()) is not None] for one in self.sets]
        there = {root for one in now for _, root in one}
        lost = (root.path for one in self.sets for root in one if root not in there)
        roots = now[0] if now else []
        for others in now[1:]:
            mine = [each for each in roots if any(_lies_in(each, other) for other in others)]
            theirs = [each for each in others if any(_lies_in(each, other) for other in roots)]
            roots = mine + theirs
        return Allowed(tuple(dict(roots).items()), tuple(dict.fromkeys(lost)))


def is_below(path: str, root: str) -> bool:
    """Whether a resolved path is a root's or that of something below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def path_of(descriptor: int) -> str:
    """What the system calls an open file or directory just now."""
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, b"\0" * 1024).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 (strings: one call a file)


@cache
def boot_id() -> str:
    """Which run of the machine this is."""
    with suppress(OSError):
        return Path(_BOOT_ID).read_text(encoding="ascii").strip()
    return ""


def _lies_in(one: tuple[str, Root], other: tuple[str, Root]) -> bool:
    """Whether a root is another one, or is found below it: by the directory itself and not by its name alone."""
    if not is_below(one[0], other[0]):
        return False
    try:
        with Allowed((other,)).directory(one[0]) as found:
            assert found is not None
            status = os.fstat(found)
            return one[1].number == (status.st_dev, status.st_ino)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False


def _walked(start: int | None, names: Iterable[str]) -> int:
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
