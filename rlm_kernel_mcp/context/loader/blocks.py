"""A part of a document that is decoded, and how many bytes of the document its characters take.

Is: plain data. Is not: reading it, nor the way to it (`index.py`). Above: `index.py`, `places.py`. Below:
`text_encoding.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.both_sides.text_encoding import AS_SURROGATES

_ESCAPED: Final = re.compile("[\udc00-\udcff]")
"""Characters that stand for a byte that does not decode."""


@dataclass(frozen=True, slots=True)
class Block:
    """The text of about 64 KB of a document, decoded once. Characters count from 0 in the document, lines from 1."""

    text: str
    byte: int
    """Where it begins in the document, behind any byte order mark."""
    char: int
    line: int
    codec: str
    errors: str

    @property
    def is_single(self) -> bool:
        """Whether each of its characters is one byte, of the same number."""
        return self.codec == "latin-1" or (self.codec == "utf-8" and self.text.isascii())

    def width(self, first: int, last: int) -> int:
        """How many bytes of the document some characters of the text take."""
        if self.is_single:
            return last - first
        text = self.text[first:last]
        if self.errors == AS_SURROGATES:
            decoded, escaped = _ESCAPED.subn("", text)
            return len(decoded.encode(self.codec)) + escaped
        return len(text.encode(self.codec, self.errors))
