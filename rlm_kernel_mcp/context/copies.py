"""Concatenated documents: their bytes one after the other, in a temporary file if there are several.

Is: writing that file, which has no name and which kernels can only read, and the hash and line count of all bytes.
Is not: reading the documents. Above: `reading.py`. Below: `roots/`, `text_encoding.py`, `whole_writes.py`.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from rlm_kernel_mcp.both_sides.text_encoding import LineCount
from rlm_kernel_mcp.both_sides.whole_writes import write_at
from rlm_kernel_mcp.context.roots.path_errors import cause
from rlm_kernel_mcp.errors import ContextTooLarge

BATCH_BYTES: Final = 1 << 20
"""Hashed and written at a time. Doing it for each of 20,000 small files takes a third of the time of reading them."""


class Concatenation:
    """All bytes of the documents so far: hashed, their lines counted, and written if there is a file for them."""

    def __init__(self, writer: int | None = None) -> None:
        self.byte_count = 0
        self._writer = writer
        self._hash = hashlib.sha256()
        self._lines = LineCount()
        self._pending: list[bytes] = []
        """Blocks that are neither hashed nor written yet."""
        self._done_bytes = 0
        self.begin()

    def begin(self) -> None:
        """Begin the next document."""
        self._begins_at = self.byte_count
        self._pending_before = len(self._pending)
        self._before: tuple[hashlib._Hash, LineCount] | None = None

    def append(self, block: bytes) -> None:
        """Append bytes to the document. Raises: ContextTooLarge: there is no room for them in the file."""
        self._pending.append(block)
        self.byte_count += len(block)
        if self.byte_count - self._done_bytes >= BATCH_BYTES:
            self._finish()

    def discard_document(self) -> None:
        """Remove what was appended since `begin`, because it turned out not to be a document."""
        self.byte_count = self._begins_at
        del self._pending[self._pending_before :]
        if self._before is not None:
            self._hash, self._lines = self._before
            self._done_bytes = self._begins_at
            if self._writer is not None:
                os.ftruncate(self._writer, self._begins_at)
        self.begin()

    def sha256(self) -> str:
        """The SHA-256 of all bytes. Raises: ContextTooLarge: there is no room for the last of them in the file."""
        self._finish()
        return self._hash.hexdigest()

    def line_count(self) -> int:
        """The number of lines of all bytes, if each byte is a character. Raises: as `sha256`."""
        self._finish()
        return self._lines.count

    def _finish(self) -> None:
        """Hash and write the pending blocks. The current document can still be discarded afterwards."""
        self._take(self._pending[: self._pending_before])
        if self._before is None:
            self._before = self._hash.copy(), self._lines.copy()
        self._take(self._pending[self._pending_before :])
        self._pending, self._pending_before = [], 0

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
    """The error for a temporary directory that has no room for the files."""
    return ContextTooLarge(
        f"The files cannot be copied into the temporary directory: {cause(error)}.",
        "Give one file, or tell the user to free room in the temporary directory, or to set TMPDIR to a larger one.",
    )
