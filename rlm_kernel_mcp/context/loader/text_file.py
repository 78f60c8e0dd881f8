"""A text in a file of the spool that this server writes itself, page by page, and what is known of it by then.

Is: bytes into the file, and their sums, so that the text is never in memory whole nor read a second time. Is not: where
the pages come from, nor a check of them (`kernel/untrusted/text_stream.py`). Above: `context/inline.py`,
`session/children/carrying.py`. Below: `spool.py`, `both_sides/`.
"""

from __future__ import annotations

import hashlib

from rlm_kernel_mcp.both_sides.text_encoding import char_width
from rlm_kernel_mcp.both_sides.whole_writes import write_at
from rlm_kernel_mcp.context.loader.client import write_failed
from rlm_kernel_mcp.context.loader.spool import Spool
from rlm_kernel_mcp.text.surrogates import decoded
from rlm_kernel_mcp.wire import EDGE_CHARS


class TextFile:
    """One text, in UTF-8 with lone surrogates. Its methods wait for the disk; one thread at a time writes."""

    def __init__(self, spool: Spool) -> None:
        """Raises: ContextTooLarge: there can be no file."""
        self._spool, self.file = spool, spool.make()
        self.chars = self.byte_count = self.lines = self.width = 0
        """`width`: as `char_width`, of the widest character."""
        self.head = self.tail = ""
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """Add a page, some valid UTF-8. Raises: ContextTooLarge: there is no room for it on disk."""
        self._spool.charge(self.file, self.byte_count + len(data))
        try:
            write_at(self.file.writer, data, self.byte_count)
        except OSError as error:
            raise write_failed(error.errno or 0) from error
        text = decoded(data)
        self._digest.update(data)
        self.byte_count, self.chars = self.byte_count + len(data), self.chars + len(text)
        self.lines += data.count(b"\n")
        self.width = max(self.width, char_width(text))
        self.head += text[: EDGE_CHARS - len(self.head)]
        self.tail = (self.tail + text[-EDGE_CHARS:])[-EDGE_CHARS:]

    def end(self) -> None:
        """It is whole; nobody writes to it any more. Raises: ContextTooLarge: the file has not all of it."""
        self.lines += 1 if self.tail and not self.tail.endswith("\n") else 0
        self.file.seal(self.byte_count)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def keep(self) -> bool:
        """Hold its file once more, which is to be released; false if that is gone."""
        return self._spool.keep(self.file)

    def release(self) -> None:
        """It is wanted no more; it is gone with whoever holds its file last."""
        self.file.release()
