"""Blobs of a store in a folder, by their hashes, and which session uses which.

Is: one half of `folder.py`. Is not: who may remove one (`cluster/shared/sweeping.py`). Above: `folder.py`. Below:
`own_files.py`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.cluster.shared.places.own_files import make_directory, opened, sync_directory, write_new

PIECE_BYTES: Final = 1 << 20
_USES: Final = re.compile(r"uses-([0-9a-f]{64})")
_NAME: Final = re.compile(r"[0-9a-f]{64}")


class BlobFiles:
    def __init__(self, sessions: Path, blobs: Path) -> None:
        self._sessions = sessions
        self._blobs = blobs

    def use_blob(self, session_id: str, sha256: str) -> None:
        make_directory(self._sessions / session_id)
        with suppress(FileExistsError):
            write_new(self._sessions / session_id / f"uses-{sha256}", b"")

    def used_blobs(self, session_id: str) -> list[str]:
        try:
            names = os.listdir(self._sessions / session_id)  # noqa: PTH208  (names alone)
        except FileNotFoundError:
            return []
        return [match[1] for match in map(_USES.fullmatch, names) if match]

    def has_blob(self, sha256: str) -> bool:
        try:
            with opened(self._blob(sha256), os.O_RDONLY):
                return True
        except FileNotFoundError:
            return False

    def put_blob(self, sha256: str, chunks: Iterable[bytes]) -> None:
        """Under another name until all of it is there."""
        new, hashed = self._blobs / f"new-{secrets.token_hex(8)}", hashlib.sha256()
        try:
            with opened(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
                for chunk in chunks:
                    hashed.update(chunk)
                    left = memoryview(chunk)
                    while left:
                        left = left[os.write(descriptor, left) :]
                if hashed.hexdigest() != sha256:
                    raise ValueError("the bytes of a blob have another hash than it was said to have")
                os.fsync(descriptor)
            make_directory(self._blob(sha256).parent)
            with suppress(FileExistsError):  # somebody else had it too
                os.link(new, self._blob(sha256), follow_symlinks=False)
        finally:
            new.unlink(missing_ok=True)
        sync_directory(self._blob(sha256).parent)

    def blob(self, sha256: str) -> Iterator[bytes]:
        with opened(self._blob(sha256), os.O_RDONLY) as descriptor:
            while piece := os.read(descriptor, PIECE_BYTES):
                yield piece

    def blobs(self) -> list[str]:
        """Names of all, and of none that is only half there."""
        found = (path.name for path in self._blobs.glob("??/*"))
        return sorted(filter(_NAME.fullmatch, found))

    def drop_blob(self, sha256: str) -> None:
        self._blob(sha256).unlink(missing_ok=True)
        self.spare_blob(sha256)

    def note_blob(self, sha256: str, log: str) -> None:
        self.spare_blob(sha256)
        with suppress(FileExistsError):
            write_new(self._blobs / f"idle-{sha256}", log.encode())

    def noted_blob(self, sha256: str) -> str | None:
        try:
            with opened(self._blobs / f"idle-{sha256}", os.O_RDONLY) as descriptor:
                return os.read(descriptor, 100).decode("ascii", "replace")
        except FileNotFoundError:
            return None

    def spare_blob(self, sha256: str) -> None:
        (self._blobs / f"idle-{sha256}").unlink(missing_ok=True)

    def _blob(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256
