"""A file that somebody changes while the citations of it are checked: at one of the reads that the check makes.

Is: what can befall a file, a read at which it does, and what a citation may say then. Is not: a choice of reads.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from unittest.mock import patch

from rlm_kernel_mcp.session.evidence.citations import Citation, Passage, Quote

_pread = os.pread


def truncated(path: Path) -> None:
    """Cut in its middle, as a log is rotated."""
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def overwritten(path: Path) -> None:
    """In place, as long as it was: only its times tell."""
    with path.open("r+b") as file:
        file.write(file_changed(path.read_bytes()))


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more lines than there were\n" * 9_000)


def replaced(path: Path) -> None:
    """By another file, as editors do."""
    path.with_suffix(".new").write_bytes(file_changed(path.read_bytes()))
    path.with_suffix(".new").replace(path)


def removed(path: Path) -> None:
    path.unlink()


def pipe(path: Path) -> None:
    """Nobody writes to it: who opens it as a file waits for ever."""
    path.unlink()
    os.mkfifo(path)


def link_outside(path: Path) -> None:
    """To a file that has what the quotes want, outside of the roots."""
    copy = path.parent.parent / f"{path.name}.outside"
    copy.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(copy)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def listener(path: Path) -> None:
    """A socket."""
    path.unlink()
    inside = os.open(path.parent, os.O_PATH)  # an address is bounded
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{inside}/{path.name}")
    finally:
        os.close(inside)


def of_holes(path: Path) -> None:
    """Larger than any context may be, and on no disk."""
    os.truncate(path, 1 << 40)


STILL_FILES: Final = (truncated, emptied, overwritten, grown, replaced)
FATES: Final = (*STILL_FILES, removed, pipe, link_outside, device, directory, listener, of_holes)


def file_changed(data: bytes) -> bytes:
    """Of the same length: each small letter but those of every fourth KB is another."""
    table = bytes(code + 1 if 97 <= code < 122 else code for code in range(256))
    parts = (data[at : at + 1024] for at in range(0, len(data), 1024))
    return b"".join(part if number % 4 == 3 else part.translate(table) for number, part in enumerate(parts))


@dataclass(slots=True)
class Reads:
    """Counts the reads of a check; at one of them something befalls the file."""

    fate: Callable[[Path], None] | None = None
    path: Path = Path()
    at: int = -1
    sizes: list[int] = field(default_factory=list)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        """In place of `os.pread`."""
        if len(self.sizes) == self.at and self.fate is not None:
            self.fate(self.path)
        self.sizes.append(size)
        return _pread(descriptor, size, offset)

    @contextmanager
    def counted(self) -> Iterator[Self]:
        """As long as it is open."""
        with patch("os.pread", self.pread):
            yield self


def versions(before: bytes, path: Path) -> list[bytes]:
    """What the file was, and what it is."""
    return [before, path.read_bytes()] if path.is_file() and path.stat().st_size < 1 << 30 else [before]


def what_is_wrong(one: Citation, quote: Quote | None, contents: list[bytes]) -> str | None:
    """Why a citation says what cannot be: `contents` are all that the file ever was. None: it may be so."""
    if not one.passes:
        return None if one.passage is None and one.why else f"{one.id} fails, and has a passage or no reason"
    if one.passage is None:
        return f"{one.id} passes without a passage"
    if not any(_is_in(one.passage, data) for data in contents):
        return f"{one.id} is {one.status} at {one.passage.start_byte}, where these bytes never were"
    raw = {data[one.passage.start_byte : one.passage.end_byte] for data in contents}
    if quote is not None and not any(part.decode("utf-8", "replace").split() == quote.text.split() for part in raw):
        return f"{one.id} is {one.status}, and the quote is another text"
    return None


def _is_in(passage: Passage, data: bytes) -> bool:
    return hashlib.sha256(data[passage.start_byte : passage.end_byte]).hexdigest() == passage.sha256
