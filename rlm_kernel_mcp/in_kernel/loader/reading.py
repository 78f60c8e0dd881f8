"""The pass over a context's files: every byte is read once, hashed, and written where the host wants it.

Is: reading by descriptors that the host opened, and writing into the one or two that it gave. Is not: the walls, nor
what is said to the host (`process.py`). Above: `process.py`. Below: `document.py`, `unpacking.py`.

Never mapped: a file that is cut short while it is mapped would end this process without a word.
"""

from __future__ import annotations

import codecs
import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.both_sides.text_encoding import NOT_PACKED
from rlm_kernel_mcp.both_sides.whole_writes import write_at
from rlm_kernel_mcp.context_wire import BLOCK_BYTES, CODECS, LAYOUTS, Finished, Limits, Read, Refused
from rlm_kernel_mcp.in_kernel.loader.document import ASCII, DocumentPass
from rlm_kernel_mcp.in_kernel.loader.unpacking import (
    LONGEST_START,
    PACKED_BYTES,
    Unpacking,
    Unreadable,
    does_not_begin_as,
)

HASHED_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a document lies in the source, and how it is to be decoded."""

    byte_count: int
    encoding: str
    errors: str


class Pass:
    """The state of one context's loading."""

    def __init__(self, limits: Limits, pack: int | None, told: Callable[[int, int], None]) -> None:
        """`pack`: where all bytes go, None where the one file stays as it is. `told(read, made)`: after each block."""
        self._limits = limits
        self._pack = pack
        self._told = told
        self._source = pack
        self._places: list[_Place] = []
        self._index = array("Q")
        self._hash = hashlib.sha256()
        self._is_hashed = limits["hash"]
        self._bytes = self._chars = self._read_bytes = self._unpacked = 0
        self._layout = ASCII
        self._is_laid = True
        """Whether the bytes as they are, are the characters."""

    def file(self, descriptor: int, form: str, *, is_named: bool) -> Read | Refused:
        """Read one file to its end. `is_named`: it is loaded whatever is in it."""
        if form != "plain" and _is_misnamed(descriptor, form):
            read = self.file(descriptor, "plain", is_named=is_named)
            read["looks"] = read["looks"] or NOT_PACKED
            return read
        if form == "plain" and (small := self._small(descriptor)) is not None:
            return small
        # To undo what a file has added when it turns out that it cannot be read.
        start = self._hash.copy(), self._bytes
        document = DocumentPass(takes_nul=is_named)
        unpacking = None
        at = 0
        try:
            if form == "plain":
                blocks = _blocks(descriptor)
            else:
                unpacking = Unpacking(form, _reader(descriptor), self._limits, self._unpacked)
                blocks = unpacking.blocks()
            for block in blocks:
                at = unpacking.taken if unpacking else at + len(block)
                self._take(block)
                self._told(self._read_bytes + at, self._bytes)
                if not document.feed(block):
                    break
            if not document.finish():
                raise Unreadable("binary")
        except (Unreadable, OSError) as error:
            self._hash, self._bytes = start
            at = unpacking.taken if unpacking else at
            reason, number = (
                (error.reason, error.number) if isinstance(error, Unreadable) else ("unreadable", error.errno or 0)
            )
            made = unpacking.made if unpacking else document.byte_count
            looks = document.looks if reason == "binary" else ""
            return {"refused": reason, "at": at, "made": made, "errno": number, "looks": looks}
        self._read_bytes += at
        self._unpacked += unpacking.made if unpacking else 0
        return self._keep(document, descriptor)

    def finish(self) -> Finished:
        """All files have been read."""
        if self._pack is not None:
            # A file that was refused half-way has left bytes behind the last good one.
            os.ftruncate(self._pack, self._bytes)
        return {
            "sha256": self._hash.hexdigest() if self._is_hashed else "",
            "bytes": self._bytes,
            "chars": self._chars,
            "layout": LAYOUTS[self._layout],
            "mapped": self._is_laid,
        }

    def rows(self, first: int, count: int) -> bytes:
        """Rows of the index, of one document after the other."""
        return self._index[first * 2 : (first + count) * 2].tobytes()

    def spool(self, descriptor: int, utf8_at: int) -> tuple[int, int]:
        """Write all characters, each as wide as the widest needs it, and unless `utf8_at` is 0 from there on as UTF-8.

        Returns how many bytes each of these has.
        """
        assert self._source is not None
        codec = codecs.lookup(CODECS[LAYOUTS[self._layout]]).encode
        offset = written = utf8 = 0
        for place in self._places:
            # Incremental: a block may end within a character.
            decoder = codecs.getincrementaldecoder(place.encoding)(place.errors)
            end = offset + place.byte_count
            while offset < end:
                block = os.pread(self._source, min(BLOCK_BYTES, end - offset), offset)
                if not block:
                    raise OSError("the source is shorter than it was")
                offset += len(block)
                text = decoder.decode(block, offset == end)
                encoded = codec(text, "surrogatepass")[0]
                _write(descriptor, encoded, written)
                written += len(encoded)
                if utf8_at:
                    is_utf8 = place.encoding == "utf-8" and place.errors == "strict"
                    raw = block if is_utf8 else text.encode("utf-8", "surrogatepass")
                    _write(descriptor, raw, utf8_at + utf8)
                    utf8 += len(raw)
                self._told(offset, written)
        return written, utf8

    def _small(self, descriptor: int) -> Read | None:
        """A file of less than one block of ASCII, for which nothing has to be detected; None of any other."""
        try:
            block = os.pread(descriptor, BLOCK_BYTES, 0)
            if (
                len(block) == BLOCK_BYTES
                or not block.isascii()
                or b"\0" in block
                # A regular file gives fewer bytes only at its end; anything else might have more.
                or os.pread(descriptor, 1, len(block))
            ):
                return None
            self._take(block)
        except (OSError, Unreadable):  # tried again where the error is reported
            return None
        self._read_bytes += len(block)
        self._told(self._read_bytes, self._bytes)
        self._add(descriptor, _Place(len(block), "utf-8", "strict"), len(block))
        return {
            "bytes": len(block),
            "encoding": "utf-8",
            "bad_bytes": 0,
            "chars": len(block),
            "lines": block.count(b"\n"),
            "open": bool(block) and not block.endswith(b"\n"),
            "layout": LAYOUTS[ASCII],
            "looks": "",
        }

    def _add(self, descriptor: int, place: _Place, chars: int) -> None:
        if self._source is None:
            self._source = os.dup(descriptor)
        self._places.append(place)
        self._chars += chars

    def _take(self, block: bytes) -> None:
        if self._bytes + len(block) > self._limits["text_bytes"]:
            raise Unreadable("too_large")
        if self._pack is not None:
            try:
                write_at(self._pack, block, self._bytes)
            except OSError as error:
                raise Unreadable("no_room", error.errno or 0) from error
        if self._is_hashed:
            self._hash.update(block)
        self._bytes += len(block)

    def _keep(self, document: DocumentPass, descriptor: int) -> Read:
        place = _Place(document.byte_count, document.encoding, document.errors)
        self._add(descriptor, place, document.chars)
        self._index.extend(document.index)
        self._layout = max(self._layout, document.layout)
        self._is_laid &= document.encoding == "latin-1" or (
            document.layout == ASCII and document.encoding == "utf-8" and document.chars == document.byte_count
        )
        return {
            "bytes": document.byte_count,
            "encoding": document.encoding,
            "bad_bytes": document.bad_bytes,
            "chars": document.chars,
            "lines": document.lines,
            "open": document.is_open,
            "layout": LAYOUTS[document.layout],
            "looks": document.looks,
        }


def hash_of(descriptor: int, byte_count: int, told: Callable[[int, int], None]) -> str:
    """The SHA-256 of the first bytes of a file; empty where it has fewer. `told`: as of `Pass`."""
    digest, offset = hashlib.sha256(), 0
    while offset < byte_count:
        block = os.pread(descriptor, min(HASHED_BYTES, byte_count - offset), offset)
        if not block:
            return ""
        digest.update(block)
        offset += len(block)
        told(offset, 0)
    return digest.hexdigest()


def _write(descriptor: int, data: bytes, place: int) -> None:
    try:
        write_at(descriptor, data, place)
    except OSError as error:
        raise Unreadable("no_room", error.errno or 0) from error


def _blocks(descriptor: int) -> Iterator[bytes]:
    offset = 0
    while block := os.pread(descriptor, BLOCK_BYTES, offset):
        while 0 < len(block) < BLOCK_BYTES and (
            more := os.pread(descriptor, BLOCK_BYTES - len(block), offset + len(block))
        ):
            block += more
        yield block
        offset += len(block)
        if len(block) < BLOCK_BYTES:
            return


def _is_misnamed(descriptor: int, form: str) -> bool:
    """Whether its name says more than is true: then it is read as it is, as `zcat -f` does."""
    try:
        return does_not_begin_as(form, os.pread(descriptor, LONGEST_START, 0))
    except OSError:  # tried again where the error is reported
        return False


def _reader(descriptor: int) -> Callable[[int], bytes]:
    return lambda offset: os.pread(descriptor, PACKED_BYTES, offset)
