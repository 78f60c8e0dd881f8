"""The stream in which a kernel sends a long text, decoded page by page, within a bound of characters. Sans-I/O.

Is: bytes in, pages of valid text out, counted. Is not: a belief in what the kernel says of it, nor a wait: whoever has
a pipe reads it elsewhere. Above: `session/kernels/long_text.py`. Below: `text/surrogates.py`.

However a stream is cut into blocks, the pages are the same. What one page takes is the most that is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.text.surrogates import decoded

PAGE_BYTES: Final = 1 << 18
"""Of a page in UTF-8; it ends with a character."""
_CONTINUATION_BYTES: Final = 3


@dataclass(frozen=True, slots=True)
class TextPage:
    """Some of the text: its UTF-8, lone surrogates too, and how many characters that is."""

    data: bytes
    chars: int


class TextDecoder:
    """One stream."""

    def __init__(self, chars_max: int, page_bytes: int = PAGE_BYTES) -> None:
        self._chars_max = chars_max
        self._page_bytes = page_bytes
        self._buffer = bytearray()
        self.chars = 0
        """Characters of all pages so far."""

    def feed(self, data: bytes) -> list[TextPage]:
        """Take the next bytes; the pages that are full by now.

        Raises:
            StreamBroken: it is no text, or too long a one. The stream is unusable from now on.
        """
        self._buffer += data
        pages = []
        while len(self._buffer) > self._page_bytes:
            end = self._page_bytes
            while end > self._page_bytes - _CONTINUATION_BYTES and self._buffer[end] & 0xC0 == 0x80:
                end -= 1  # a character's bytes belong together
            pages.append(self._page(end))
        return pages

    def end(self) -> list[TextPage]:
        """No more bytes come: the last page, if there is one. Raises: as `feed`."""
        return [self._page(len(self._buffer))] if self._buffer else []

    def _page(self, end: int) -> TextPage:
        data = bytes(self._buffer[:end])
        del self._buffer[:end]
        try:
            chars = len(decoded(data))
        except UnicodeDecodeError as error:
            raise StreamBroken("it is not valid UTF-8") from error
        self.chars += chars
        if self.chars > self._chars_max:
            raise StreamBroken(f"it has more than {self._chars_max:,} characters")
        return TextPage(data, chars)
