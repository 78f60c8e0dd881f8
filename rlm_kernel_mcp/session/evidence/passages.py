"""A document that is open for reading, and its passages: as characters, bytes and lines, with the text beside them.

Is: the way from two characters or two bytes to a `Passage`. Is not: how the bytes are read (`documents.py`). Above:
that, `check.py`. Below: `context/loader/`, `text/`.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.both_sides.text_encoding import errors_of
from rlm_kernel_mcp.context.loader.index import Changed, ReadAt, TextIndex, count_document
from rlm_kernel_mcp.context.loader.places import Place, Places, PlacesInBlock
from rlm_kernel_mcp.session.evidence.citations import BESIDE_CHARS, EXACT_EACH, TEXT_CHARS, Exact, Passage
from rlm_kernel_mcp.text.safe_text import is_safe, safe_text

BLOCKS_KEPT: Final = 2
"""Parts of a document that stay decoded: a passage may begin in one and end in the next."""
_BEHIND_MARK = {"utf-8-sig": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}


@dataclass(slots=True)
class OpenDocument:
    """One document. Characters, bytes and lines are its own."""

    name: str
    path: str | None
    encoding: str
    errors: str
    byte_count: int
    raw: ReadAt
    """Reads at most this many of its bytes from an offset."""
    places: Places
    number: int
    """Its number there."""
    on_changed: Callable[[], object]
    """Called when its bytes turn out to differ from those that were counted."""
    _chars: int | None = None
    _shown: tuple[str, str | None] | None = None
    """Its name and path, safe to show."""
    _blocks: list[PlacesInBlock] = field(default_factory=list)
    """The last parts in which a place was looked for. Passages in order read each part once."""

    def read(self, offset: int, size: int) -> bytes:
        """This many of its bytes. Raises: Changed: there are fewer."""
        found = self.raw(offset, size)
        while len(found) < size and (more := self.raw(offset + len(found), size - len(found))):
            found += more  # a system call may give less than it was asked for
        if len(found) < size:
            self.on_changed()
            raise Changed(f"{self.name} ends {size - len(found):,} bytes too early")
        return found

    @property
    def chars(self) -> int:
        """How many characters it has. Raises: Changed."""
        if self._chars is None:
            self._chars = self.places.chars(self.number, self._read_part)
        return self._chars

    def at_char(self, char: int) -> Place:
        """Raises: IndexError, Changed."""
        for block in self._blocks:
            if block.has(char):
                return block.at_char(char)
        return self._place(self._at_char, char)

    def at_byte(self, byte: int) -> Place:
        """The place of the character that has this byte. Raises: IndexError, Changed."""
        return self._place(self._at_byte, byte)

    def text(self, start: Place, end: Place) -> str:
        """The text between two places. Raises: Changed."""
        raw = self.read(start.byte, end.byte - start.byte)
        return self.decoded(raw, start.byte)

    def decoded(self, raw: bytes, offset: int) -> str:
        """Decode whole characters of it that begin at this byte. Raises: Changed."""
        try:
            return codecs.decode(raw, self.codec_at(offset), self.errors)
        except UnicodeDecodeError as error:
            self.on_changed()
            raise Changed(f"{self.name} is no longer what it was") from error

    def codec_at(self, offset: int) -> str:
        """The codec for its bytes from an offset on: only the beginning has a byte order mark."""
        if offset == 0 or self.encoding not in _BEHIND_MARK:
            return self.encoding
        if self.encoding == "utf-8-sig":
            return "utf-8"
        mark = self.read(0, 4 if self.encoding == "utf-32" else 2)
        return f"{self.encoding}-{'be' if mark in (codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE) else 'le'}"

    def passage(self, start_char: int, end_char: int) -> tuple[Passage, str]:
        """The passage of some of its characters, the end excluded, and its whole text. Raises: IndexError, Changed."""
        before, around, raw = self._around(max(0, start_char - BESIDE_CHARS), min(self.chars, end_char + BESIDE_CHARS))
        first, last = start_char - before.char, end_char - before.char
        if len(raw) == len(around):  # a byte for each character
            start_byte, end_byte = before.byte + first, before.byte + last
        else:
            start_byte, end_byte = self.at_char(start_char).byte, self.at_char(end_char).byte
        text = around[first:last]
        line = before.line + around.count("\n", 0, first)
        exact = Exact(self.path, self.encoding, around[:first], text, around[last:])
        if self._shown is None:
            self._shown = safe_text(self.name), None if self.path is None else safe_text(self.path)
        doc, path = self._shown
        safe: Callable[[str], str] = str if is_safe(around) else safe_text
        made = Passage(
            doc=doc,
            path=path,
            start_char=start_char,
            end_char=end_char,
            start_byte=start_byte,
            end_byte=end_byte,
            start_line=line,
            end_line=line + text.count("\n", 0, max(0, len(text) - 1)),
            text=safe(text[:TEXT_CHARS]),
            sha256=hashlib.sha256(raw[start_byte - before.byte : end_byte - before.byte]).hexdigest(),
            prefix=safe(around[:first]),
            suffix=safe(around[last:]),
            exact=exact if len(text) <= EXACT_EACH else exact.without_text(),
        )
        return made, text

    def _around(self, low: int, high: int) -> tuple[Place, str, bytes]:
        """Some characters of it, where they begin, and their bytes. Raises: IndexError, Changed."""
        before = self.at_char(low)
        for block in self._blocks:
            if (text := block.single(low, high)) is not None:
                return before, text, text.encode("latin-1")
        after = self.at_char(high)
        raw = self.read(before.byte, after.byte - before.byte)
        text = self.decoded(raw, before.byte)
        # The file has been written to since it was counted: these bytes are other characters.
        if len(text) != after.char - before.char:
            self.on_changed()
            raise Changed(f"{self.name} is no longer what it was")
        return before, text, raw

    def _place(self, find: Callable[[int, int, ReadAt], Place], value: int) -> Place:
        try:
            return find(self.number, value, self._read_part)
        except Changed:
            self.on_changed()
            raise

    def _at_char(self, number: int, char: int, read: ReadAt) -> Place:
        return self._kept(self.places.in_block(number, char, read)).at_char(char)

    def _at_byte(self, number: int, byte: int, read: ReadAt) -> Place:
        block = next((one for one in self._blocks if one.has_byte(byte)), None)
        return (block or self._kept(self.places.in_block_of_byte(number, byte, read))).at_byte(byte)

    def _kept(self, block: PlacesInBlock) -> PlacesInBlock:
        self._blocks = [*self._blocks, block][-BLOCKS_KEPT:]
        return block

    def _read_part(self, offset: int, size: int) -> bytes:
        """For counting, which notices by itself if there are fewer bytes."""
        return self.raw(offset, size)


def as_it_is_now(
    name: str, path: str, encoding: str, byte_count: int, raw: ReadAt, on_changed: Callable[[], object]
) -> OpenDocument | None:
    """A document that has changed since it was loaded, counted again; None if it no longer decodes.

    Reads all of it.
    """
    errors = errors_of(encoding)
    try:
        one, rows = count_document(byte_count, encoding, errors, raw)
    except (Changed, UnicodeError):
        return None
    places = Places([((name, byte_count, encoding, errors), path)], TextIndex([one], rows), "", 0)
    return OpenDocument(name, path, encoding, errors, byte_count, raw, places, 0, on_changed)
