"""A document as a stream of bytes for searching: UTF-8 whatever its encoding, with or without white space.

Is: its windows, which overlap by the longest text that is looked for, and the way from a position in the stream back to
the document. Is not: the search (`keys.py`). Sans-I/O but for the reading of blocks. Above: `quotes.py`. Below:
`passages.py`.

For a document in UTF-8 these are its own bytes, for any other its characters in UTF-8; a lone surrogate takes three
bytes.
"""

from __future__ import annotations

import codecs
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rlm_kernel_mcp.context.loader.index import Changed
from rlm_kernel_mcp.session.evidence.passages import OpenDocument

WINDOW_BYTES: Final = 1 << 20
"""Bytes searched at once; a check holds only a few of these windows of its sources."""
BLOCK_BYTES: Final = 8 << 10
"""Block of a document: for each one, its beginning in the stream is recorded."""
BATCH: Final = 32
"""Blocks read at once."""
_SPACES: Final = [chr(code) for code in range(0x3001) if chr(code).isspace()]
_PLAIN_SPACES: Final = "".join(one for one in _SPACES if one.isascii()).encode()
_OTHER_SPACES: Final = [one.encode() for one in _SPACES if not one.isascii()]
_CONTINUATION_BYTES: Final = 3
PLAIN: Final = frozenset({"utf-8", "utf-8-sig"})


def without_spaces(data: bytes, codes: bytes | None = None) -> bytes:
    """UTF-8 without white space, as `str.split` defines it; no character may be cut at an end.

    `codes`: what stands for each byte of the rest.
    """
    if not data.isascii():
        for space in _OTHER_SPACES:
            if space in data:
                data = data.replace(space, b"")
    return data.translate(codes, _PLAIN_SPACES)


def forms_of(text: str) -> tuple[bytes, ...]:
    """The forms that a text may have in a stream: two if it has escapes of bytes that do not decode, else one."""
    raw = text.encode("utf-8", "surrogatepass")
    try:
        return tuple({raw, text.encode("utf-8", "surrogateescape")})
    except UnicodeEncodeError:
        return (raw,)


class Window(NamedTuple):
    """A part of a stream."""

    data: bytes
    base: int
    """Its beginning in the stream."""
    high: int
    """A match that begins before this offset of `data` is found here, a later one in the next window."""


@dataclass(slots=True)
class Stream:
    """The stream of one document.

    Args:
        document: the document.
        spaces: whether the stream includes white space.
        reach: bytes of the longest text that is looked for.
        window_bytes: bytes searched at once.
        codes: what stands for each byte of a stream without white space.
    """

    document: OpenDocument
    spaces: bool
    reach: int
    window_bytes: int = WINDOW_BYTES
    codes: bytes | None = None
    _starts: array[int] = field(default_factory=lambda: array("Q"))
    """Where each block of the window begins in the stream."""
    _units: array[int] = field(default_factory=lambda: array("Q"))
    """And where in the document: as a byte if it is in UTF-8, else as a character."""

    def windows(self) -> Iterator[Window]:
        """All windows. Raises: Changed: the document has become shorter; the windows before that are valid."""
        rest, base = b"", 0
        pieces: list[bytes] = []
        held = 0
        for piece, unit in self._blocks():
            self._starts.append(base + held)
            self._units.append(unit)
            pieces.append(piece)
            held += len(piece)
            if held < self.window_bytes + self.reach:
                continue
            # What begins in the last `reach` bytes may end beyond them, so the next window begins there.
            data, high = b"".join(pieces), held - self.reach
            yield Window(data, base, high)
            rest, base, held = data[high:], base + high, self.reach
            pieces = [rest]
            self._forget(base)
        yield Window(b"".join(pieces), base, held)

    def block_of(self, place: int) -> tuple[int, int]:
        """The block with a byte of the stream: its beginning in the document, and the byte's distance from that."""
        row = max(0, bisect_right(self._starts, place) - 1)
        return self._units[row], place - self._starts[row]

    def chars_of(self, start: int, end: int) -> tuple[int, int]:
        """The characters of the document that (at least one) bytes of the stream belong to.

        Raises:
            Changed: they are no longer there.
            IndexError: no character begins, or ends, there.
        """
        if self.spaces and self.document.encoding in PLAIN:
            unit, behind = self.block_of(start)
            first, last = (self.document.at_byte(byte) for byte in (unit + behind, unit + behind + end - start))
            if (first.byte, last.byte) != (unit + behind, unit + behind + end - start):
                raise IndexError("no character begins there")
            return first.char, last.char
        first_char, _ = char_in_block(self.document, *self.block_of(start), spaces=self.spaces, edge=0)
        last_char, is_end = char_in_block(self.document, *self.block_of(end - 1), spaces=self.spaces, edge=1)
        return first_char, last_char + is_end

    def _forget(self, base: int) -> None:
        row = max(0, bisect_right(self._starts, base) - 1)
        del self._starts[:row], self._units[:row]

    def _blocks(self) -> Iterator[tuple[bytes, int]]:
        block_bytes = min(BLOCK_BYTES, self.window_bytes)
        if self.document.encoding not in PLAIN:
            found = _other_blocks(self.document, block_bytes)
        else:
            found = _plain_blocks(self.document, BATCH * block_bytes if self.spaces else block_bytes)
        for piece, unit in found:
            yield (piece if self.spaces else without_spaces(piece, self.codes)), unit


def char_in_block(document: OpenDocument, unit: int, behind: int, *, spaces: bool, edge: int | None) -> tuple[int, int]:
    """The character of a document that has a byte of the stream, `behind` bytes after the beginning of a block.

    `edge`: the byte has to be its first (0) or its last (1). Returns the character and the edge.

    Raises:
        Changed, IndexError: as `Stream.chars_of`.
    """
    is_plain = document.encoding in PLAIN
    if is_plain and spaces and edge is None:
        return document.at_byte(unit + behind).char, 0
    begin = document.at_byte(unit) if is_plain else document.at_char(unit)
    raw = document.read(begin.byte, min(2 * BLOCK_BYTES, document.byte_count - begin.byte))
    if begin.byte + len(raw) < document.byte_count:
        # Incremental: the two blocks that were read may end within a character.
        text = codecs.getincrementaldecoder(document.codec_at(begin.byte))(document.errors).decode(raw)
    else:
        text = document.decoded(raw, begin.byte)
    low, high, left = 0, len(text), behind
    while high - low > 1:  # bisection: each half is counted once
        middle = (low + high) // 2
        size = _stream_bytes(text[low:middle], document, spaces=spaces)
        if size > left:
            high = middle
        else:
            low, left = middle, left - size
    size = _stream_bytes(text[low:high], document, spaces=spaces)
    if size <= left:
        document.on_changed()
        raise Changed(f"{document.name} is no longer what it was")
    if edge is not None and left != (size - 1) * edge:
        raise IndexError("no character begins or ends there")
    return begin.char + low, edge or 0


def _stream_bytes(text: str, document: OpenDocument, *, spaces: bool) -> int:
    if text.isascii():
        return len(text) if spaces else len(text.encode().translate(None, _PLAIN_SPACES))
    bare = text if spaces else "".join(text.split())
    is_escaped = document.encoding in PLAIN and document.errors == "surrogateescape"
    return len(bare.encode("utf-8", "surrogateescape" if is_escaped else "surrogatepass"))


def _plain_blocks(document: OpenDocument, block_bytes: int) -> Iterator[tuple[bytes, int]]:
    """A document in UTF-8, cut between its characters."""
    at = 3 if document.encoding == "utf-8-sig" else 0
    size = document.byte_count
    while at < size:
        raw = document.read(at, min(max(block_bytes, BATCH * BLOCK_BYTES), size - at))
        begin, is_end = 0, at + len(raw) == size
        while begin < len(raw):
            if begin + block_bytes < len(raw):
                end = max(_whole(raw, begin + block_bytes), begin + 1)
            else:
                end = len(raw) if is_end else _whole_end(raw)
            if end <= begin:
                break
            yield raw[begin:end], at + begin
            begin = end
        at += begin


def _whole(raw: bytes, end: int) -> int:
    """The last offset up to `end`, which lies within `raw`, where no character is cut."""
    for back in range(_CONTINUATION_BYTES + 1):
        if end > back and not 0x80 <= raw[end - back] < 0xC0:
            return end - back
    return end


def _whole_end(raw: bytes) -> int:
    """The same at the end of what was read: before a character whose rest may still follow."""
    for back in range(1, min(_CONTINUATION_BYTES, len(raw)) + 1):
        if raw[-back] >= 0xC0:
            return len(raw) - back
        if raw[-back] < 0x80:
            break
    return len(raw)


def _other_blocks(document: OpenDocument, block_bytes: int) -> Iterator[tuple[bytes, int]]:
    """A document in another encoding: its characters in UTF-8."""
    decoder = codecs.getincrementaldecoder(document.encoding)(document.errors)
    char = 0
    for at in range(0, document.byte_count, block_bytes):
        size = min(block_bytes, document.byte_count - at)
        try:
            text = decoder.decode(document.read(at, size), at + size == document.byte_count)
        except UnicodeDecodeError as error:
            document.on_changed()
            raise Changed(f"{document.name} is no longer what it was") from error
        if text:
            yield text.encode("utf-8", "surrogatepass"), char
            char += len(text)
