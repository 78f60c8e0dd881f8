"""Documents laid together: their bytes one after the other, and the temporary file that has them.

Is: that file, which has no name and which kernels may read alone, and what is known of all bytes. Is not: the reading
of documents (`reading.py`). Above: that. Below: `paths.py`, `text_encoding.py`, `whole_writes.py`.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from rlm_kernel_mcp.context.paths import cause
from rlm_kernel_mcp.errors import ContextTooLarge
from rlm_kernel_mcp.text_encoding import LineCount
from rlm_kernel_mcp.whole_writes import write_at

HELD_BYTES: Final = 1 << 20
"""Hashed and written at once: of 20,000 small files each by itself takes a third of the time of their reading."""


class LaidTogether:
    """All bytes of the documents so far: hashed, their lines counted, and written where there is a file for them."""

    def __init__(self, writer: int | None = None) -> None:
        self.byte_count = 0
        self._writer = writer
        self._hash = hashlib.sha256()
        self._lines = LineCount()
        self._held: list[bytes] = []
        """Those that are neither hashed nor written yet."""
        self._done_bytes = 0
        self.begin()

    def begin(self) -> None:
        """What is appended from now on is another document."""
        self._begins_at = self.byte_count
        self._held_before = len(self._held)
        self._before: tuple[hashlib._Hash, LineCount] | None = None

    def append(self, block: bytes) -> None:
        """Take the next bytes of the document. Raises: ContextTooLarge: there is no room for them in the file."""
        self._held.append(block)
        self.byte_count += len(block)
        if self.byte_count - self._done_bytes >= HELD_BYTES:
            self._finish()

    def take_back(self) -> None:
        """The document that was begun is none."""
        self.byte_count = self._begins_at
        del self._held[self._held_before :]
        if self._before is not None:
            self._hash, self._lines = self._before
            self._done_bytes = self._begins_at
            if self._writer is not None:
                os.ftruncate(self._writer, self._begins_at)
        self.begin()

    def sha256(self) -> str:
        """Of all bytes. Raises: ContextTooLarge: there is no room for the last of them in the file."""
        self._finish()
        return self._hash.hexdigest()

    def line_count(self) -> int:
        """Of all bytes, where each is a character. Raises: as `sha256`."""
        self._finish()
        return self._lines.count

    def _finish(self) -> None:
        """Hash and write what is held; the document that was begun can still be taken back."""
        self._take(self._held[: self._held_before])
        if self._before is None:
            self._before = self._hash.copy(), self._lines.copy()
        self._take(self._held[self._held_before :])
        self._held, self._held_before = [], 0

    def _take(self, blocks: list[bytes]) -> None:
        if not blocks:
            return
        joined = b"".join(blocks)
        self._hash.update(joined)
        self._lines.feed(joined)
        if self._writer is not None:
            try:
                write_at(self._writer, joined, self._done_bytes)
            except OSError as error:
                raise no_room(error) from error
        self._done_bytes += len(joined)


def no_room(error: OSError) -> ContextTooLarge:
    """The error for a temporary directory that does not take the files."""
    return ContextTooLarge(
        f"The files cannot be put together in the temporary directory: {cause(error)}.",
        "Give one file, or tell the user to free room in the temporary directory, or to set TMPDIR to a larger one.",
    )
