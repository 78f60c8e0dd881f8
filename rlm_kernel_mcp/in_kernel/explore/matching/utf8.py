"""The UTF-8 of a text that is not ASCII: from bytes to characters, and back.

Is: counts of continuation bytes by block, made only as far as somebody asks, and kept. Is not: a search,
nor the bytes of a file as it is (`places.py`). Above: `windows.py`. Below: the standard library.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Final

BLOCK_BITS: Final = 9
"""log2 of a block's bytes. A block takes 4 bytes of the table, and each match scans half a block on average."""
LARGE_BYTES: Final = 1 << 32
LARGE_BLOCK_BITS: Final = 12
"""The same from `LARGE_BYTES` on, where a block takes 8 bytes: the table for 64 GB has 128 MB."""
COUNTED_BLOCKS: Final = 128
"""Blocks counted at a time: if all of them are ASCII, as in most texts, one check is enough."""
COPIED_BYTES: Final = 1 << 15
ASCII_BLOCKS: Final = 16
"""So many in a row are worth looking for where they end."""
# All bytes except continuation bytes (10xxxxxx); `translate` with these deletes them, and counts in C.
_FIRST: Final = bytes(byte for byte in range(256) if byte & 0xC0 != 0x80)


def encoded(text: str) -> bytes:
    """UTF-8, in which lone surrogates are encoded too."""
    return text.encode("utf-8", "surrogatepass")


def chars_in(raw: bytes) -> int:
    """How many characters begin in a part of UTF-8."""
    return len(raw) if raw.isascii() else len(raw) - len(raw.translate(None, _FIRST))


class Utf8:
    """A text and its UTF-8."""

    __slots__ = ("_bits", "_more", "_place", "_text", "raw")

    def __init__(self, text: str, raw: memoryview) -> None:
        self._text, self.raw = text, raw
        is_large = len(raw) >= LARGE_BYTES
        self._bits = LARGE_BLOCK_BITS if is_large else BLOCK_BITS
        self._more = array("Q" if is_large else "I", [0])
        """How many more bytes than characters come before each block."""
        self._place = 0, 0
        """A character and its byte: the end of the last window, where the next one will begin."""

    def chars(
        self, starts: list[int], ends: list[int], base: int, char: int, *, is_ascii: bool
    ) -> tuple[list[int], list[int]]:
        """The characters of spans of bytes, which are in order and relative to `base`.

        They are relative to the character there, `char`. `is_ascii`: whether each of the spans' own bytes is one.
        """
        found, behind, bits, more = list[int](), list[int](), self._bits, self._more
        self._count(((base + starts[-1]) >> bits) + 1)
        first = 0
        data, counted, done = b"", len(more), 0
        while done < len(starts):
            start, end = base + starts[done], base + ends[done]
            block = start >> bits
            surplus = more[block]
            if block + ASCII_BLOCKS < counted and more[block + ASCII_BLOCKS] == surplus:
                # All that lie in this stretch of ASCII at once: in most texts that is nearly all of a window.
                stretch = bisect_right(more, surplus, block + ASCII_BLOCKS) - 1 << bits
                if stop := bisect_right(ends, stretch - base, done) - done:
                    less = base - surplus - char
                    found += [place + less for place in starts[done : done + stop]]
                    behind += [place + less for place in ends[done : done + stop]]
                    done += stop
                    continue
            if end > first + len(data):
                # In pieces, and only where it is needed: what is larger is new memory each time, page by page.
                first = block << bits
                data = bytes(self.raw[first : max(end, first + COPIED_BYTES)])
            if block + 1 == counted or surplus != more[block + 1]:
                rest = data[(block << bits) - first : start - first]
                surplus += len(rest) - chars_in(rest)
            found.append(start - surplus - char)
            size = end - start if is_ascii else chars_in(data[start - first : end - first])
            behind.append(start - surplus - char + size)
            done += 1
        return found, behind

    def byte(self, char: int) -> int:
        """The byte at which a character begins; for the end of the text, the end of the UTF-8."""
        if char >= len(self._text):
            return len(self.raw)
        known, at = self._place
        if char != known:
            guess = at + char - known
            self._place = char, guess if self._is_ascii(*sorted((at, guess))) else self._found(char)
        return self._place[1]

    def _is_ascii(self, first: int, last: int) -> bool:
        """Whether all blocks from one byte to another are ASCII, as most windows of most texts are.

        A tenth of the time of `_found`, which two borders of each window took.
        """
        more, behind = self._more, (last >> self._bits) + 1
        self._count(behind)
        return behind < len(more) and more[first >> self._bits] == more[behind]

    def _found(self, char: int) -> int:
        more, bits = self._more, self._bits
        while ((len(more) - 1) << bits) - more[-1] <= char and len(more) << bits <= len(self.raw):
            self._count(len(more) - 1 + COUNTED_BLOCKS)
        block = bisect_right(range(len(more)), char, key=lambda number: (number << bits) - more[number]) - 1
        at = block << bits
        known = at - more[block]
        while self.raw[at] & 0xC0 == 0x80:  # continuation bytes of a character from the block before
            at += 1
        return at + len(encoded(self._text[known:char]))

    def _count(self, block: int) -> None:
        """Count up to the beginning of a block, or to the last whole one."""
        more, bits = self._more, self._bits
        size, step = 1 << bits, COUNTED_BLOCKS << bits
        while len(more) <= block:
            start = (len(more) - 1) << bits
            data = bytes(self.raw[start : min(start + step, len(self.raw) >> bits << bits)])
            if not data:
                return
            surplus = more[-1]
            if data.isascii():
                more.extend([surplus] * (len(data) >> bits))
                continue
            for first in range(0, len(data), size):
                part = data[first : first + size]
                surplus += size - chars_in(part)
                more.append(surplus)
