"""The files that a session's code has written into its scratch directory, for a person who takes them out.

Is: their names and sizes, and the bytes of one, part by part, while none of the session's own code runs. Is not: a
wall, nor a check: the host believes none of it. A symbolic link is not followed, also none on the way, and what is no
plain file is counted and not opened. Runs in the control thread. Above: `in_kernel/ipython/control.py`. Below:
`context_wire.py`.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from rlm_kernel_mcp.context_wire import FILE_PART_BYTES, LIST_FILES, READ_FILE, FilePartReply, FilesReply

FILES_MAX: Final = 4_096
NAMES_CHARS_MAX: Final = 200_000
"""Of all names that are listed: a message has 3 MB, and a character may take twelve bytes."""
DEPTH_MAX: Final = 16
SEEN_MAX: Final = 20_000
"""Entries that are looked at, directories too: a policy may allow a million. Beyond them, one stands for all."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: a FIFO is opened at once, and seen to be one."""


def file_requests(scratch: Callable[[], str]) -> dict[str, Callable[[Mapping[str, Any], object], Mapping[str, Any]]]:
    """By type the host's requests about them. `scratch`: gives the directory, once the kernel has one."""
    return {
        LIST_FILES: lambda _asked, _passed: list_files(scratch()),
        READ_FILE: lambda asked, _passed: read_file(scratch(), asked),
    }


def list_files(scratch: str) -> FilesReply:
    """The plain files below the directory, and how many entries are none, or beyond what is listed. Raises: OSError."""
    files: list[tuple[str, int]] = []
    left_out = Counter[str]()
    room = NAMES_CHARS_MAX
    for number, (path, kind, size) in enumerate(_below(scratch)):
        if number == SEEN_MAX:
            left_out["more"] += 1
            break
        if kind == "file":
            room -= len(path)
            if len(files) < FILES_MAX and room >= 0:
                files.append((path, size))
            else:
                left_out["more"] += 1
        elif kind != "directory":
            left_out[kind] += 1
    return {"status": "ok", "files": sorted(files), "left_out": dict(left_out)}


def _below(scratch: str) -> Iterator[tuple[str, str, int]]:
    """Every entry below the directory, as far down as any is looked into: its path, what it is, and its size."""
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        for name, kind, size in _entries(scratch, directory):
            path = f"{directory}/{name}" if directory and name else directory or name
            is_deep = kind == "directory" and path.count("/") >= DEPTH_MAX
            if kind == "directory" and not is_deep:
                waiting.append(path)
            yield path, "deep" if is_deep else kind, size


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISLNK, "link"), (stat.S_ISDIR, "directory"))
    return next((kind for is_one, kind in kinds if is_one(mode)), "other")


def read_file(scratch: str, asked: Mapping[str, Any]) -> FilePartReply:
    """A part of one of them, from `offset` on. Raises: OSError, ValueError: there is no such file."""
    name, offset = asked["name"], asked["offset"]
    *directories, last = name.split("/")
    if "" in (last, *directories) or {".", ".."} & {last, *directories}:
        raise ValueError("it is no name of a file below the directory")
    with _opened(scratch, directories) as parent:
        descriptor = os.open(last, _FILE, dir_fd=parent)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise ValueError("it is no plain file")
            data = os.pread(descriptor, FILE_PART_BYTES, offset)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    if _version(before) != _version(after):
        raise ValueError("it changes while it is read")
    return {
        "status": "ok",
        "data": base64.b64encode(data).decode("ascii"),
        "version": _version(after),
        "last": offset + len(data) >= after.st_size,
    }


def _version(found: os.stat_result) -> str:
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def _entries(scratch: str, directory: str) -> Iterator[tuple[str, str, int]]:
    """The entries of a directory, and what each is; or one without a name that says why there are none."""
    try:
        with _opened(scratch, directory.split("/") if directory else []) as descriptor, os.scandir(descriptor) as found:
            for entry in found:
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    yield entry.name, "gone", 0
                else:
                    yield entry.name, _kind(about.st_mode), about.st_size
    except OSError as error:
        # Removed, or put in place of a link, since it was seen; or its owner has taken its own rights away.
        if not directory or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            raise
        yield "", "closed" if error.errno == errno.EACCES else "gone", 0


@contextmanager
def _opened(scratch: str, directories: list[str]) -> Iterator[int]:
    """A directory below the scratch directory, opened step by step, so that no link on the way leads elsewhere."""
    descriptor = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in directories:
            below = os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)
