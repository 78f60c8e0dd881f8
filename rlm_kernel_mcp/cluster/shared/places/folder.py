"""A shared store in a folder on a file system that several machines mount.

Is: files and directories, all of this user alone; new names are synced too. Is not: any lock. What one machine alone
may do is the making of a name (`link`, `O_EXCL`), and what others did is seen by opening a file (for which NFS promises
to ask the server) and not from a directory that was read before. Above: `cluster/shared/opening.py`. Below:
`medium.py`, `blob_files.py`.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.cluster.shared.places.blob_files import BlobFiles
from rlm_kernel_mcp.cluster.shared.places.medium import (
    Claimed,
    SegmentReader,
    claimed_of,
    is_log_name,
    is_session_name,
)
from rlm_kernel_mcp.cluster.shared.places.own_files import make_directory, opened, sync_directory, write_new

FORMAT: Final = b"rlm shared store 1\n"
SEALED: Final = b"sealed\n"
_OWNER: Final = b"log\n"
_CLAIM: Final = re.compile(r"claim-(\d{10})")
_SEGMENT: Final = re.compile(r"segment-(\d{10})")
_PARTS_AT_ONCE: Final = 512


class Folder(BlobFiles):
    """`faults`: told of the lines `written` and `synced` of an append."""

    segment_bytes = 8 << 20
    segments_max = 1 << 16

    def __init__(self, root: Path, faults: Callable[[str], None]) -> None:
        super().__init__(root / "sessions", root / "blobs")
        self._root = root
        self._logs = root / "logs"
        self._at = faults
        self._appending: tuple[str, int, int] | None = None
        """Log, segment and descriptor of the one that is appended to; it belongs to the thread that appends."""

    def prepare(self) -> None:
        """The parent has to be there: a file system that is not mounted is not to be taken for an empty one."""
        make_directory(self._root)
        for directory in (self._sessions, self._logs, self._blobs):
            make_directory(directory)
        marker = self._root / "FORMAT"
        with suppress(FileExistsError):
            write_new(marker, FORMAT)
        with opened(marker, os.O_RDONLY) as descriptor:
            if os.read(descriptor, 100) != FORMAT:
                raise OSError(errno.EMEDIUMTYPE, "what lies there is not a store of this version")

    def put_claim(self, claim: Claimed) -> bool:
        directory = self._sessions / claim.session_id
        make_directory(directory)
        new = directory / f"new-{secrets.token_hex(8)}"
        write_new(new, claim.text(), is_named=False)
        try:
            os.link(new, self._claim(claim), follow_symlinks=False)
        except FileExistsError:
            return False
        finally:
            new.unlink(missing_ok=True)
        sync_directory(directory)
        return True

    def claims(self, session_id: str) -> list[Claimed]:
        directory = self._sessions / session_id
        try:
            names = sorted(os.listdir(directory))  # noqa: PTH208  (names alone)
        except FileNotFoundError:
            self._look_for_root()
            return []
        found = []
        for match in filter(None, map(_CLAIM.fullmatch, names)):
            with suppress(FileNotFoundError), opened(directory / match[0], os.O_RDONLY) as descriptor:
                found.append(claimed_of(os.read(descriptor, 4_096), session_id, int(match[1])))
        return found

    def refresh(self, session_id: str) -> None:
        """A directory that this machine has changed is read again from the server."""
        for directory in (self._sessions, self._sessions / session_id):
            touch = directory / f"new-{secrets.token_hex(8)}"
            with suppress(FileNotFoundError):
                write_new(touch, b"", is_durable=False)
                touch.unlink(missing_ok=True)

    def seal(self, claim: Claimed) -> None:
        self._add_seal(self._claim(claim), len(claim.text()))

    def is_own(self, claim: Claimed) -> bool:
        return self._has_size(self._claim(claim), len(claim.text()))

    def put_whole(self, claim: Claimed) -> None:
        with suppress(FileExistsError):
            write_new(self._claim(claim, "whole"), b"")

    def is_whole(self, claim: Claimed) -> bool:
        try:
            with opened(self._claim(claim, "whole"), os.O_RDONLY):
                return True
        except FileNotFoundError:
            return False

    def drop_claim(self, claim: Claimed) -> None:
        self._claim(claim, "whole").unlink(missing_ok=True)  # first: it is nothing without its claim
        self._claim(claim).unlink(missing_ok=True)

    def sessions(self) -> list[str]:
        return sorted(filter(is_session_name, os.listdir(self._sessions)))  # noqa: PTH208

    def drop_session(self, session_id: str) -> None:
        directory = self._sessions / session_id
        with suppress(FileNotFoundError):
            for name in os.listdir(directory):  # noqa: PTH208
                if not _CLAIM.fullmatch(name):
                    (directory / name).unlink(missing_ok=True)
            with suppress(OSError):  # somebody has just claimed it anew
                directory.rmdir()
            sync_directory(self._sessions)

    def make_log(self, log: str) -> None:
        make_directory(self._logs / log)
        write_new(self._logs / log / "owner", _OWNER)

    def logs(self) -> list[str]:
        return sorted(filter(is_log_name, os.listdir(self._logs)))  # noqa: PTH208

    def is_log_sealed(self, log: str) -> bool:
        return not self._has_size(self._logs / log / "owner", len(_OWNER))

    def seal_log(self, log: str) -> None:
        self._add_seal(self._logs / log / "owner", len(_OWNER))

    def drop_log(self, log: str) -> None:
        """The file that says that it is sealed goes last."""
        directory = self._logs / log
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(directory), reverse=True):  # noqa: PTH208
                (directory / name).unlink(missing_ok=True)
            directory.rmdir()

    def append(self, log: str, segment: int, offset: int, parts: Sequence[bytes]) -> int:
        path = self._logs / log / f"segment-{segment:010d}"
        descriptor = self._to_append(log, segment, path, is_new=offset == 0)
        for first in range(0, len(parts), _PARTS_AT_ONCE):
            offset = _written(descriptor, parts[first : first + _PARTS_AT_ONCE], offset)
        self._at("written")
        os.fdatasync(descriptor)
        if offset == sum(map(len, parts)):
            sync_directory(path.parent)
        self._at("synced")
        return offset

    def abandon(self, log: str, segment: int, size: int) -> None:
        self._end_appending()
        path = self._logs / log / f"segment-{segment:010d}"
        with suppress(OSError):
            if size:
                os.truncate(path, size)
            else:
                path.unlink()

    def segments(self, log: str) -> dict[int, int]:
        found = {}
        with os.scandir(self._logs / log) as entries:
            for entry in entries:
                if match := _SEGMENT.fullmatch(entry.name):
                    with suppress(FileNotFoundError), opened(Path(entry.path), os.O_RDONLY) as descriptor:
                        found[int(match[1])] = os.fstat(descriptor).st_size
        return dict(sorted(found.items()))

    @contextmanager
    def reading(self, log: str, segment: int) -> Iterator[SegmentReader]:
        with opened(self._logs / log / f"segment-{segment:010d}", os.O_RDONLY) as descriptor:

            def read(offset: int, size: int) -> bytes:
                pieces, end = [], offset + size
                while offset < end and (piece := os.pread(descriptor, end - offset, offset)):
                    pieces.append(piece)
                    offset += len(piece)
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

            yield read

    def drop_segment(self, log: str, segment: int) -> None:
        (self._logs / log / f"segment-{segment:010d}").unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        self._end_appending()

    def _claim(self, claim: Claimed, kind: str = "claim") -> Path:
        return Path(self._sessions, claim.session_id, f"{kind}-{claim.epoch:010d}")

    def _to_append(self, log: str, segment: int, path: Path, *, is_new: bool) -> int:
        if self._appending is not None and self._appending[:2] == (log, segment):
            return self._appending[2]
        self._end_appending()
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if is_new else 0)
        descriptor = os.open(path, flags, 0o600)
        self._appending = (log, segment, descriptor)
        return descriptor

    def _end_appending(self) -> None:
        if self._appending is not None:
            descriptor, self._appending = self._appending[2], None
            with suppress(OSError):
                os.close(descriptor)

    def _add_seal(self, path: Path, offset: int) -> None:
        """At one place, so that two who do it at once do the same."""
        with suppress(FileNotFoundError), opened(path, os.O_RDWR) as descriptor:
            os.pwrite(descriptor, SEALED, offset)
            os.fsync(descriptor)

    def _has_size(self, path: Path, size: int) -> bool:
        """Opened for writing too: a server answers that itself, where it may have let a client answer for reading."""
        try:
            with opened(path, os.O_RDWR) as descriptor:
                return os.fstat(descriptor).st_size == size
        except FileNotFoundError:
            self._look_for_root()
            return False

    def _look_for_root(self) -> None:
        """Raises: FileNotFoundError: nothing is there because the whole store is not."""
        with opened(self._root / "FORMAT", os.O_RDONLY):
            pass


def _written(descriptor: int, parts: Sequence[bytes], offset: int) -> int:
    """Write parts from an offset on, and return the offset behind them; the system may take a part of them."""
    left = [memoryview(part) for part in parts if part]
    while left:
        taken = os.pwritev(descriptor, left, offset)
        offset += taken
        while left and taken >= len(left[0]):
            taken -= len(left.pop(0))
        if left and taken:
            left[0] = left[0][taken:]
    return offset
