r"""Positions in a text as a byte of the source or a character, each computed from the other, and the line of either.

Is: sans-I/O except for one read: what a loader counted for each 64 KB of a document, and the way from there to the
exact position, which reads at most one such block. Is not: reading the whole text. Above: `payload.py`.
Below: `blocks.py`, `context_wire.py`.

A line ends with its `\n`, as in grep; a `\r` belongs to its line. A character that a block's end cuts in two is
counted in the block in which it ends. No source is ever mapped here: its file may be truncated at any time (`Changed`).
"""

from __future__ import annotations

import codecs
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from rlm_kernel_mcp.context.loader.blocks import Block
from rlm_kernel_mcp.context_wire import BLOCK_BYTES

_UNIT: Final = {"utf-16": 2, "utf-32": 4}
_MARK_BYTES: Final = {"utf-8-sig": 3, **_UNIT}
_BIG: Final = {codecs.BOM_UTF16_BE: "utf-16-be", codecs.BOM_UTF32_BE: "utf-32-be"}
LONGEST_CHAR_BYTES: Final = 4
LONE: Final = "surrogatepass"
"""The error handler by which lone surrogates of an inline text get into its UTF-8."""
_CONTINUATIONS: Final = bytes(range(0x80, 0xC0))

ReadAt = Callable[[int, int], bytes]
"""Reads up to a number of bytes from an offset of the source."""


class Changed(Exception):
    """The source is no longer what was counted."""


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """One document of the source, as a loader counted it. `errors`: how it is decoded."""

    byte_count: int
    encoding: str
    errors: str
    chars: int
    line_ends: int


class TextIndex:
    """Positions in all documents of a context: characters and lines count in the document, bytes in the source."""

    def __init__(self, documents: Sequence[IndexedDocument], rows: array[int]) -> None:
        """`rows`: pairs of line ends and characters, one for each border between two blocks of a document.

        Raises:
            ValueError: the numbers are impossible.
        """
        # Arrays of numbers, since it lives as long as the session: 8 MB for 200,000 documents, 16 MB for 64 GB of text.
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
            raise ValueError("the number of the index's rows does not match its documents' blocks")
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
        """The byte of the source at which a document begins."""
        return self._starts[number]

    @property
    def char_counts(self) -> array[int]:
        """How many characters each document has."""
        return self._char_counts

    def block_of_byte(self, number: int, byte: int, read: ReadAt) -> Block:
        """The block with the character that a document's `byte` belongs to; for the document's end, the last one.

        Raises:
            Changed: the source is shorter than it was. IndexError: no such byte.
        """
        document = self.document(number)
        if not 0 <= byte <= document.byte_count:
            raise IndexError(f"byte {byte:,} is outside the document's {document.byte_count:,}")
        return self._decoded(number, max(0, min(byte, document.byte_count - 1)) // BLOCK_BYTES, read)

    def block_of_char(self, number: int, char: int, read: ReadAt) -> Block:
        """The block in which a character of a document ends; for the document's end, the last one.

        Raises:
            Changed, IndexError: as for `block_of_byte`.
        """
        document = self.document(number)
        if not 0 <= char <= document.chars:
            raise IndexError(f"character {char:,} is outside the document's {document.chars:,}")
        return self._decoded(number, self._block_number(number, char), read)

    def _decoded(self, number: int, block: int, read: ReadAt) -> Block:
        """A block of a document, with all of a character that its end cuts."""
        encoding, errors = self._kinds[self._kind[number]]
        byte_count = self._starts[number + 1] - self._starts[number]
        start, chars = self._block(number, block, read)
        end = min(byte_count, (block + 1) * BLOCK_BYTES + LONGEST_CHAR_BYTES)
        raw = self._read(number, start, end - start, read)
        text = self._decoder(number, start, read).decode(raw, end == byte_count)
        begin = start or _MARK_BYTES.get(encoding, 0)
        line = 1 + self._row(number, start, self._lines)
        return Block(text, begin, chars, line, self._behind_mark(number, read), errors)

    def _block_number(self, number: int, char: int) -> int:
        first, last = self._first_rows[number], self._first_rows[number + 1]
        # The rows are counts before each border and never shrink, so the block is found by bisection.
        return bisect_right(self._chars, char, first, last) - first

    def _row(self, number: int, start: int, column: array[int]) -> int:
        """What was counted up to the block that begins at a border or a few bytes before it."""
        block = -(-start // BLOCK_BYTES)
        return column[self._first_rows[number] + block - 1] if block else 0

    def _block(self, number: int, block: int, read: ReadAt) -> tuple[int, int]:
        """The byte of a document at which the text of a block begins, and the number of characters before that."""
        if not block:
            return 0, 0
        border = block * BLOCK_BYTES
        chars = self._chars[self._first_rows[number] + block - 1]
        return border - self._torn(number, border, read), chars

    def _torn(self, number: int, border: int, read: ReadAt) -> int:
        """How many bytes before a border belong to a character that ends after it. No encoding has more than three."""
        encoding, document_errors = self._kinds[self._kind[number]]
        if encoding in ("latin-1", "utf-32"):
            return 0
        before = self._read(number, border - LONGEST_CHAR_BYTES, LONGEST_CHAR_BYTES, read)
        errors = "ignore"
        if document_errors == LONE:
            before, errors = before.lstrip(_CONTINUATIONS), LONE  # everything else in such a text decodes
        decoder = codecs.getincrementaldecoder(self._behind_mark(number, read))(errors)
        decoder.decode(before)
        return len(decoder.getstate()[0])

    def _behind_mark(self, number: int, read: ReadAt) -> str:
        """The codec for a part of the document after its byte order mark."""
        encoding, _ = self._kinds[self._kind[number]]
        if encoding not in _UNIT:
            return "utf-8" if encoding == "utf-8-sig" else encoding
        return _BIG.get(self._read(number, 0, _UNIT[encoding], read), f"{encoding}-le")

    def _decoder(self, number: int, start: int, read: ReadAt) -> codecs.IncrementalDecoder:
        """A decoder for the document from `start` on."""
        encoding, errors = self._kinds[self._kind[number]]
        return codecs.getincrementaldecoder(self._behind_mark(number, read) if start else encoding)(errors)

    def _read(self, number: int, start: int, size: int, read: ReadAt) -> bytes:
        found = read(self._starts[number] + start, size)
        if len(found) != size:
            raise Changed(f"the source ends {size - len(found):,} bytes too early")
        return found


def count_document(byte_count: int, encoding: str, errors: str, read: ReadAt) -> tuple[IndexedDocument, array[int]]:
    """Count a document as a loader does, by reading all of it; for documents that no loader has read.

    Raises:
        Changed: it has fewer bytes. UnicodeDecodeError: it no longer decodes as it did.
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
    """Check that counts never shrink, and grow in each block by at most its bytes and one character begun before."""
    before = 0
    for row in range(first, last):
        if not before <= column[row] <= min(whole, before + BLOCK_BYTES + LONGEST_CHAR_BYTES):
            raise ValueError("the index does not grow as a text does")
        before = column[row]
