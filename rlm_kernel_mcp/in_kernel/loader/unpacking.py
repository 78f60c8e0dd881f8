"""Compressed files as streams of blocks, with an end for those that would never end.

Is: gzip, bzip2, xz and zstd, one member after the other, by blocks of one size. Is not: archives of many files.
Above: `reading.py`. Below: the standard library, which has zstd from 3.14 on; before that `backports.zstd`.

No byte is left out in silence: a stream that is cut off, and bytes behind its end that are neither another stream nor
zeroes, are errors, where the programs of a shell warn.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from rlm_kernel_mcp.context_wire import BLOCK_BYTES, Limits

PACKED_BYTES: Final = 1 << 16
"""Read at once."""
MEMORY_MAX: Final = 192 << 20
"""What a stream may ask for to be unpacked; `xz -9` asks for 65 MB."""
ZSTD_WINDOW_LOG_MAX: Final = 27
"""128 MB, which is what `zstd --long` makes."""
# Magic numbers: RFC 1952, the formats of bzip2 and xz, RFC 8878. zstd has skippable frames besides, 0x184D2A50 to 5F.
_STARTS: Final = {
    "gzip": (b"\x1f\x8b",),
    "bzip2": (b"BZh",),
    "xz": (b"\xfd7zXZ\0",),
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes((low, 0x2A, 0x4D, 0x18)) for low in range(0x50, 0x60))),
}
"""What a compressed file begins with; of zstd also what its readers pass over. Laxer than `text_encoding._FORMATS`:
here the name has said it already."""
LONGEST_START: Final = 6
_ZSTD_MODULES: Final = ("compression.zstd", "backports.zstd")


class Unreadable(Exception):
    """A file that is not read. `reason`: one of `context_wire.REASONS`."""

    def __init__(self, reason: str, number: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.number = number


def does_not_begin_as(form: str, start: bytes) -> bool:
    """Whether a file that is named as a compressed one is none.

    `start`: its first `LONGEST_START` bytes; one that is cut off before that may be compressed.
    """
    return not any(one.startswith(start[: len(one)]) for one in _STARTS[form])


class Decompressor(Protocol):
    """As `bz2.BZ2Decompressor`."""

    @property
    def eof(self) -> bool:
        """Whether the stream has come to its end."""

    @property
    def needs_input(self) -> bool:
        """Whether it makes nothing more of what it was given."""

    @property
    def unused_data(self) -> bytes:
        """What was given behind the stream's end."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next bytes of the text."""


class GzipDecompressor:
    """`zlib.decompressobj` as a `Decompressor`: Python has one from 3.12 on, without a name."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._tail = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next bytes of the text."""
        # zlib hands back the input that a bounded call had no room for; bz2 and lzma keep it themselves.
        made = self._member.decompress(self._tail + data, max_length)
        self._tail = self._member.unconsumed_tail
        self.needs_input = not self._tail and len(made) < max_length
        return made


def zstd_module() -> Any:
    """The module for zstd; None where this Python has none."""
    for name in _ZSTD_MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _zstd() -> Decompressor:
    zstd = zstd_module()
    if zstd is None:
        raise Unreadable("no_zstd")
    made: Decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX}
    )
    return made


_MAKERS: Final[dict[str, Callable[[], Decompressor]]] = {
    "gzip": GzipDecompressor,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_MAX),
    "zstd": _zstd,
}
_ERRORS: Final = (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError)
"""What the modules raise for bytes that are no stream of theirs; `zstd.ZstdError` is looked up."""


class Unpacking:
    """One compressed file. `taken`: bytes of it so far; `made`: bytes of its text."""

    def __init__(self, form: str, read: Callable[[int], bytes], limits: Limits, unpacked_before: int) -> None:
        """`read(offset)`: the next bytes of the file, empty at its end. `unpacked_before`: bytes of other files."""
        self._form = form
        self._read = read
        self._limits = limits
        self._left = limits["unpacked_bytes"] - unpacked_before
        self._given = 0
        self._zstd_error = getattr(zstd_module() if form == "zstd" else None, "ZstdError", zlib.error)
        self.taken = 0
        self.made = 0

    def blocks(self) -> Iterator[bytes]:
        """The text, by `BLOCK_BYTES` but for the last.

        Raises:
            Unreadable.
        """
        held: list[bytes] = []
        size = 0
        for piece in self._pieces():
            held.append(piece)
            size += len(piece)
            if size == BLOCK_BYTES:
                yield b"".join(held) if len(held) > 1 else piece
                held, size = [], 0
            self._wanted = BLOCK_BYTES - size
        if size:
            yield b"".join(held)

    _wanted = BLOCK_BYTES

    def _pieces(self) -> Iterator[bytes]:
        # Several members in one file are what `cat a.gz b.gz` and parallel compressors write (RFC 1952, 2.2).
        member = self._begun()
        data, ended = self._next(), False
        while True:
            try:
                piece = member.decompress(data, self._wanted)
            except MemoryError:
                raise Unreadable("memory") from None
            except (*_ERRORS, self._zstd_error) as error:
                raise Unreadable("memory" if "emory" in str(error) else "corrupt") from error
            data = b""
            self._count(len(piece))
            if piece:
                yield piece
            if member.eof:
                data = self._behind(member.unused_data)
                if not data:
                    return
                member, ended = self._begun(), False
            # `not piece`: a decompressor that makes nothing of what it has needs more, whatever it says.
            elif member.needs_input or not piece:
                if ended and not piece:
                    raise Unreadable("truncated")
                data = self._next()
                ended = not data

    def _begun(self) -> Decompressor:
        return _MAKERS[self._form]()

    def _next(self) -> bytes:
        data = self._read(self._given)
        self._given += len(data)
        self.taken = self._given
        return data

    def _behind(self, unused: bytes) -> bytes:
        """What follows a member: another one, or nothing; zeroes are padding, as tapes and xz have it."""
        self.taken = self._given - len(unused)
        while True:
            rest = unused.lstrip(b"\0")
            if rest:
                self.taken = self._given - len(rest)
                return rest
            unused = self._next()
            if not unused:
                return b""

    def _count(self, size: int) -> None:
        self.made += size
        if self.made > self._left:
            raise Unreadable("unpacked")
        limits = self._limits
        # Checked after each block, so a bomb never makes more than one block beyond its limit.
        if self.made > limits["ratio_from"] and self.made > limits["ratio"] * max(1, self.taken):
            raise Unreadable("ratio")
