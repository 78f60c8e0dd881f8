"""One document, block by block: its encoding, its characters and lines, and the index of both.

Is: sans-I/O; what is made of bytes that nobody has looked at. Is not: reading or writing. Above: `reading.py`.
Below: `text_encoding.py`.
"""

from __future__ import annotations

from array import array
from typing import Final

from rlm_kernel_mcp.both_sides.text_encoding import BINARY, EncodingDetector, char_width, errors_of
from rlm_kernel_mcp.context_wire import BLOCK_BYTES

ASCII, LATIN_1, UCS2, UCS4 = range(4)
"""Places in `context_wire.LAYOUTS`."""
_OF_WIDTH: Final = {0: ASCII, 1: LATIN_1, 2: UCS2, 4: UCS4}


def layout_of(text: str) -> int:
    """The narrowest layout of a text."""
    return _OF_WIDTH[char_width(text)]


class DocumentPass:
    """Takes the blocks of one document, each of `BLOCK_BYTES` but the last."""

    def __init__(self, *, takes_nul: bool = False) -> None:
        """`takes_nul`: as of `EncodingDetector`."""
        self.byte_count = 0
        self.chars = 0
        self.lines = 0
        """Line ends."""
        self.is_open = False
        """Whether there is a line that no line end ends."""
        self.layout = ASCII
        self.encoding = BINARY
        self.bad_bytes = 0
        self.index = array("Q")
        """Behind each whole block: line ends and characters so far; a character that a block cuts in two is not yet."""
        self._detector = EncodingDetector(takes_nul=takes_nul)
        self._byte_lines = 0
        self._ends_open = False
        self._byte_index = array("Q")

    def feed(self, block: bytes) -> bool:
        """Take a block; whether a text can still become of it."""
        self._detector.feed(block)
        self.byte_count += len(block)
        line_ends = block.count(b"\n")
        self._ends_open = not block.endswith(b"\n")
        self._byte_lines += line_ends
        self._note(self._detector.text, len(block), line_ends)
        if len(block) == BLOCK_BYTES:
            self.index.extend((self.lines, self.chars))
            self._byte_index.append(self._byte_lines)
        return not self._detector.is_binary

    def finish(self) -> bool:
        """The end of the document; whether it is a text. All that is public is true from now on."""
        self.encoding = self._detector.finish()
        self.bad_bytes = self._detector.undecodable_bytes
        if self.encoding == BINARY:
            return False
        if self.encoding == "latin-1":
            self._as_latin_1()
        else:
            self._note(self._detector.text, 0, 0)
        if self.byte_count % BLOCK_BYTES == 0:  # a row stands between two blocks, and behind the last is none
            del self.index[-2:]
        return True

    @property
    def looks(self) -> str:
        """As of `EncodingDetector`."""
        return self._detector.looks

    @property
    def errors(self) -> str:
        """How it is to be decoded."""
        return errors_of(self.encoding) if self.bad_bytes else "strict"

    def _note(self, text: str | None, byte_count: int, line_ends: int) -> None:
        if text is None:
            self.is_open = self._ends_open
            self.chars += byte_count
            self.lines += line_ends
            return
        if text:
            self.is_open = not text.endswith("\n")
        self.chars += len(text)
        self.lines += text.count("\n")
        self.layout = max(self.layout, layout_of(text))

    def _as_latin_1(self) -> None:
        """It had seemed to be something else: every byte is a character."""
        self.chars, self.lines, self.layout = self.byte_count, self._byte_lines, LATIN_1
        self.is_open = self._ends_open
        rows = ((lines, BLOCK_BYTES * block) for block, lines in enumerate(self._byte_index, 1))
        self.index = array("Q", (number for row in rows for number in row))
