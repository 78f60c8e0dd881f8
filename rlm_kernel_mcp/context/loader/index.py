r"""Places in a text: as a byte of the source, a character, a line; each from each other. Sans-I/O but for one read.

Is: what a loader counted for each 64 KB of a document, and the step from there to the very place, which reads at most
one such block. Is not: a look at the whole text. Above: `payload.py`. Below: `context_wire.py`.

A line ends with its `\n`, as for grep; a `\r` belongs to its line. A character that a block's end cuts in two is
counted in the block in which it ends. Nothing of a source is mapped: it may be cut short at any time (`Changed`).
"""

from __future__ import annotations

import codecs
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from rlm_kernel_mcp.context_wire import BLOCK_BYTES
from rlm_kernel_mcp.text_encoding import AS_SURROGATES

_UNIT: Final = {"utf-16": 2, "utf-32": 4}
_MARK_BYTES: Final = {"utf-8-sig": 3, **_UNIT}
_BIG: Final = {codecs.BOM_UTF16_BE: "utf-16-be", codecs.BOM_UTF32_BE: "utf-32-be"}
LONGEST_CHAR_BYTES: Final = 4
LONE: Final = "surrogatepass"
"""How lone surrogates of an inline text lie in its UTF-8."""
_CONTINUATIONS: Final = bytes(range(0x80, 0xC0))
_ESCAPED: Final = re.compile("[\udc00-\udcff]")
"""Each is a byte that does not decode."""

ReadAt = Callable[[int, int], bytes]
"""At most so many bytes from an offset of the source on."""


class Changed(Exception):
    """The source is not what was counted."""


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """One document of the source, as a loader counted it. `errors`: how it is decoded."""

    byte_count: int
    encoding: str
    errors: str
    chars: int
    line_ends: int


class TextIndex:
    """Of all documents of a context. Offsets of characters and lines are the document's own; bytes are the source's."""

    def __init__(self, documents: Sequence[IndexedDocument], rows: array[int]) -> None:
        """`rows`: pairs of line ends and characters, one for each border of two blocks of each document.

        Raises:
            ValueError: the numbers cannot be.
        """
        # Numbers in arrays, for all of a session's time: of 200,000 documents 8 MB, of 64 GB of text 16 MB.
        self._kinds = list({(one.encoding, one.errors): None for one in documents})
        kinds = {kind: number for number, kind in enumerate(self._kinds)}
        self._kind = array("H", (kinds[one.encoding, one.errors] for one in documents))
        self._char_counts = array("Q", (one.chars for one in documents))
        self._line_ends = array("Q", (one.line_ends for one in documents))
        self._starts = array("Q", accumulate((one.byte_count for one in documents), initial=0))
        counts = (max(0, one.byte_count - 1) // BLOCK_BYTES for one in documents)
        self._first_rows = array("Q", accumulate(counts, initial=0))
        self._lines, self._chars = rows[::2], rows[1::2]
        if len(self._lines) != len(self._chars) or len(self._lines) != self._first_rows[-1]:
            raise ValueError("the index has not as many rows as its documents have blocks")
        for number, document in enumerate(documents):
            first, last = self._first_rows[number], self._first_rows[number + 1]
            for column, whole in ((self._lines, document.line_ends), (self._chars, document.chars)):
                _check(column, first, last, whole)

    def __len__(self) -> int:
        return len(self._kind)

    def document(self, number: int) -> IndexedDocument:
        """One of the documents. Raises: IndexError."""
        byte_count = self._starts[number + 1] - self._starts[number]
        kind = self._kinds[self._kind[number]]
        return IndexedDocument(byte_count, *kind, self._char_counts[number], self._line_ends[number])

    def start(self, number: int) -> int:
        """Where a document begins, as a byte of the source."""
        return self._starts[number]

    @property
    def char_counts(self) -> array[int]:
        """How many characters each document has."""
        return self._char_counts

    def char_of_byte(self, number: int, byte: int, read: ReadAt) -> int:
        """The character of a document in which its `byte` lies; its end for its end.

        Raises:
            Changed: the source is shorter than it was. IndexError: no such byte.
        """
        document = self.document(number)
        if not 0 <= byte <= document.byte_count:
            raise IndexError(f"byte {byte:,} is outside of the document's {document.byte_count:,}")
        if byte == document.byte_count:
            return document.chars
        if document.encoding == "latin-1":
            return byte
        block = byte // BLOCK_BYTES
        start, chars = self._block(number, block, read)
        raw = self._read(number, start, min(document.byte_count - start, byte - start + LONGEST_CHAR_BYTES), read)
        # What is half read is a character, or several that do not decode: what follows tells.
        whole = len(self._decoder(number, start, read).decode(raw[: byte - start]))
        text = self._text(number, start, raw, read)
        while whole + 1 < len(text) and start + self._width(number, start, raw, whole + 1, read) <= byte:
            whole += 1
        return chars + whole

    def byte_of_char(self, number: int, char: int, read: ReadAt) -> int:
        """Where a character of a document begins, as a byte of the document; its end for its end.

        Raises:
            Changed, IndexError: as for `char_of_byte`.
        """
        document = self.document(number)
        if not 0 <= char <= document.chars:
            raise IndexError(f"character {char:,} is outside of the document's {document.chars:,}")
        if char == document.chars:
            return document.byte_count
        if document.encoding == "latin-1":
            return char
        first, last = self._first_rows[number], self._first_rows[number + 1]
        block = bisect_right(self._chars, char, first, last) - first
        start, chars = self._block(number, block, read)
        raw = self._whole(number, start, block, read)
        return start + self._width(number, start, raw, char - chars, read)

    def line_of_byte(self, number: int, byte: int, read: ReadAt) -> int:
        """The line of a document, from 1 on, in which its `byte` lies. Raises: as for `char_of_byte`."""
        document = self.document(number)
        if not 0 <= byte <= document.byte_count:
            raise IndexError(f"byte {byte:,} is outside of the document's {document.byte_count:,}")
        start, _ = self._block(number, min(byte, document.byte_count - 1) // BLOCK_BYTES if byte else 0, read)
        lines = self._row(number, start, self._lines)
        decoder = self._decoder(number, start, read)
        return 1 + lines + decoder.decode(self._read(number, start, byte - start, read)).count("\n")

    def byte_of_line(self, number: int, line: int, read: ReadAt) -> int:
        """Where a line of a document begins, as a byte of the document; its end for the line behind the last.

        Raises:
            Changed, IndexError: as for `char_of_byte`.
        """
        document = self.document(number)
        if not 1 <= line <= document.line_ends + 1:
            raise IndexError(f"line {line:,} is outside of the document's {document.line_ends + 1:,}")
        if line == 1:
            return 0
        first, last = self._first_rows[number], self._first_rows[number + 1]
        block = bisect_left(self._lines, line - 1, first, last) - first
        start, _ = self._block(number, block, read)
        wanted = line - 1 - self._row(number, start, self._lines)
        raw = self._read(
            number, start, min(document.byte_count, (block + 1) * BLOCK_BYTES + LONGEST_CHAR_BYTES) - start, read
        )
        text = self._text(number, start, raw, read)
        at = -1
        for _ in range(wanted):
            at = text.find("\n", at + 1)
            if at < 0:
                raise Changed("a line is no longer there")
        return start + self._width(number, start, raw, at + 1, read)

    def _row(self, number: int, start: int, column: array[int]) -> int:
        """What was counted before the block that begins at or a little before a border."""
        block = -(-start // BLOCK_BYTES)
        return column[self._first_rows[number] + block - 1] if block else 0

    def _block(self, number: int, block: int, read: ReadAt) -> tuple[int, int]:
        """Where the text of a block begins, as a byte of the document, and how many characters are before it."""
        if not block:
            return 0, 0
        border = block * BLOCK_BYTES
        chars = self._chars[self._first_rows[number] + block - 1]
        return border - self._torn(number, border, read), chars

    def _torn(self, number: int, border: int, read: ReadAt) -> int:
        """How many bytes before a border belong to a character that ends behind it: no encoding looks further back."""
        document = self.document(number)
        if document.encoding in ("latin-1", "utf-32"):
            return 0
        before = self._read(number, border - LONGEST_CHAR_BYTES, LONGEST_CHAR_BYTES, read)
        errors = "ignore"
        if document.errors == LONE:
            before, errors = before.lstrip(_CONTINUATIONS), LONE  # in a text of these nothing else does not decode
        decoder = codecs.getincrementaldecoder(self._behind_mark(number, read))(errors)
        decoder.decode(before)
        return len(decoder.getstate()[0])

    def _behind_mark(self, number: int, read: ReadAt) -> str:
        """The codec for what does not begin with the document's byte order mark."""
        encoding = self.document(number).encoding
        if encoding not in _UNIT:
            return "utf-8" if encoding == "utf-8-sig" else encoding
        return _BIG.get(self._read(number, 0, _UNIT[encoding], read), f"{encoding}-le")

    def _decoder(self, number: int, start: int, read: ReadAt) -> codecs.IncrementalDecoder:
        """As the document is decoded from `start` on."""
        document = self.document(number)
        encoding = self._behind_mark(number, read) if start else document.encoding
        return codecs.getincrementaldecoder(encoding)(document.errors)

    def _text(self, number: int, start: int, raw: bytes, read: ReadAt) -> str:
        ends = start + len(raw) == self.document(number).byte_count
        return self._decoder(number, start, read).decode(raw, ends)

    def _width(self, number: int, start: int, raw: bytes, chars: int, read: ReadAt) -> int:
        """How many bytes of `raw` its first `chars` characters are, with a byte order mark that is before them."""
        document = self.document(number)
        codec = self._behind_mark(number, read)
        kept = self._text(number, start, raw, read)[:chars]
        mark = 0 if start else _MARK_BYTES.get(document.encoding, 0)
        if document.errors == AS_SURROGATES:
            decoded, escaped = _ESCAPED.subn("", kept)
            return mark + len(decoded.encode(codec)) + escaped
        return mark + len(kept.encode(codec, document.errors))

    def _whole(self, number: int, start: int, block: int, read: ReadAt) -> bytes:
        """A block with the rest of a character that its end cuts."""
        end = min(self.document(number).byte_count, (block + 1) * BLOCK_BYTES + LONGEST_CHAR_BYTES)
        return self._read(number, start, end - start, read)

    def _read(self, number: int, start: int, size: int, read: ReadAt) -> bytes:
        found = read(self._starts[number] + start, size)
        if len(found) != size:
            raise Changed(f"the source ends {size - len(found):,} bytes too early")
        return found


def count_document(byte_count: int, encoding: str, errors: str, read: ReadAt) -> tuple[IndexedDocument, array[int]]:
    """What a loader says of a document, and its rows, by reading all of it: for what the host has read by itself.

    Raises:
        Changed: it has fewer bytes. UnicodeDecodeError: it does not decode as it did.
    """
    decoder, rows = codecs.getincrementaldecoder(encoding)(errors), array("Q")
    chars = line_ends = 0
    for start in range(0, byte_count, BLOCK_BYTES):
        size = min(BLOCK_BYTES, byte_count - start)
        block = read(start, size)
        if len(block) != size:
            raise Changed(f"the document ends {size - len(block):,} bytes too early")
        text = decoder.decode(block, start + size == byte_count)
        chars += len(text)
        line_ends += text.count("\n")
        if start + size < byte_count:
            rows.extend((line_ends, chars))
    return IndexedDocument(byte_count, encoding, errors, chars, line_ends), rows


def _check(column: array[int], first: int, last: int, whole: int) -> None:
    """Counts only grow, in each block by no more than it has bytes and a character that it ends."""
    before = 0
    for row in range(first, last):
        if not before <= column[row] <= min(whole, before + BLOCK_BYTES + LONGEST_CHAR_BYTES):
            raise ValueError("the index does not grow as a text does")
        before = column[row]
