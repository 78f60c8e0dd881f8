"""Which line a character of a text is in, and which byte of its file it is.

Is: counts by block, made only as far as somebody asks, and kept. A line ends with its line feed, as in grep and
editors; a carriage return belongs to its line. Is not: a way from bytes to text. Above: `sources.py`. Below: the
standard library.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

BLOCK_CHARS: Final = 1 << 12
"""A block takes 8 bytes of a table, 2 MB for a gigabyte, and every look goes through half of one."""
_MARK_BYTES: Final = {"utf-8-sig": 3, "utf-16": 2, "utf-32": 4}
"""Size of the byte order mark, which decoding removes."""
_WITHOUT_MARK: Final = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}


class LinePlaces:
    """The line ends of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._before = array("Q", [0])
        """How many line ends come before each block."""

    def ends_before(self, char: int) -> int:
        """How many line ends come before a character."""
        block = char // BLOCK_CHARS
        while len(self._before) <= block:
            self._count()
        return self._before[block] + self._text.count("\n", block * BLOCK_CHARS, char)

    def line_start(self, ends: int) -> int | None:
        """The character after this many line ends; None if the text has fewer."""
        if ends <= 0:
            return 0
        size = len(self._text)
        while self._before[-1] < ends and (len(self._before) - 1) * BLOCK_CHARS < size:
            self._count()
        block = bisect_left(self._before, ends) - 1
        place, left = block * BLOCK_CHARS, ends - self._before[block]
        if self._before[-1] < ends:
            return None
        while left:
            place = self._text.find("\n", place) + 1
            left -= 1
        return place

    def _count(self) -> None:
        start = (len(self._before) - 1) * BLOCK_CHARS
        self._before.append(self._before[-1] + self._text.count("\n", start, start + BLOCK_CHARS))


class BytePlaces:
    """The byte offsets of one document in its file."""

    def __init__(self, text: str, start: int, end: int, encoding: str, errors: str) -> None:
        self._text, self._start, self._end = text, start, end
        self._codec, self._errors = _WITHOUT_MARK.get(encoding, encoding), errors
        self._before = array("Q", [_MARK_BYTES.get(encoding, 0)])
        self._is_plain = encoding == "latin-1" or (text.isascii() and self._codec in ("utf-8", "ascii"))

    def before(self, char: int) -> int:
        """How many bytes of the file come before a character, which is counted in the whole text."""
        offset = char - self._start
        if self._is_plain:
            return self._before[0] + offset
        block = offset // BLOCK_CHARS
        while len(self._before) <= block:
            start = self._start + (len(self._before) - 1) * BLOCK_CHARS
            self._before.append(self._before[-1] + self._size(start, min(self._end, start + BLOCK_CHARS)))
        return self._before[block] + self._size(self._start + block * BLOCK_CHARS, char)

    def _size(self, start: int, end: int) -> int:
        # Bytes that were replaced on decoding (`\\xff` in UTF-16) cannot be encoded back: their escapes are counted.
        errors = self._errors if self._errors in ("surrogateescape", "surrogatepass") else "surrogatepass"
        return len(self._text[start:end].encode(self._codec, errors))
