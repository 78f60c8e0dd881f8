"""A PNG picture from a kernel, looked through chunk by chunk and written anew without what is not the picture.

Is: signature, order, lengths and checksums of the chunks, and the size that the header declares. Sans-I/O. Is not: a
decoder: no pixel is unpacked here. What goes on has no text, no colour profile, which is packed too, and nothing behind
the end: some decoders unpack the former without a bound, and the latter may be a file of any other type.
Above: `displays.py`. Below: the standard library. Source: Portable Network Graphics, third edition.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
SIDE_MAX: Final = 16_384
"""Pixels of a side."""
UNPACKED_BYTES_MAX: Final = 128 << 20
"""Of all pixels: this is what a decoder makes of a picture, however few bytes it has."""
PACKED_TO: Final = 1_100
"""To so many times its size can deflate's data be unpacked, at the most. A header that declares more promises pixels
that are not there, and a decoder takes the memory for them all the same."""
CHUNKS_MAX: Final = 10_000
SMALL: Final = {b"tRNS": 256, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"sBIT": 4, b"bKGD": 6, b"pHYs": 9}
"""Chunks that go on beside those without which there is no picture, and the most bytes of each."""
COLOURS: Final = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}
"""By colour type: samples of a pixel, and how many bits one may have."""

_CHUNK: Final = Struct(">I4s")
_CHECKSUM: Final = Struct(">I")
_HEADER: Final = Struct(">IIBBBBB")


@dataclass(slots=True)
class _Seen:
    """What has come of a picture by now."""

    unpacked_bytes: int = 0
    """Of the pixels that the header declares; 0: no header has come."""
    needs_palette: bool = False
    packed_bytes: int = 0
    """Of pixels."""
    is_behind: bool = False
    """Whether a chunk of another kind has followed the pixels: they stand together."""
    once: set[bytes] = field(default_factory=set)
    """Chunks that have come and may come once."""


def clean_png(data: bytes) -> bytes | None:
    """The picture alone; None: it is none, or declares more than there may be."""
    if not data.startswith(SIGNATURE):
        return None
    parts, seen, at = [SIGNATURE], _Seen(), len(SIGNATURE)
    for _ in range(CHUNKS_MAX):
        if at + _CHUNK.size + _CHECKSUM.size > len(data):
            return None
        size, kind = _CHUNK.unpack_from(data, at)
        end = at + _CHUNK.size + size
        if end + _CHECKSUM.size > len(data) or _CHECKSUM.unpack_from(data, end)[0] != zlib.crc32(data[at + 4 : end]):
            return None
        goes_on = _goes_on(seen, kind, data[at + _CHUNK.size : end])
        if goes_on is None:
            return None
        if goes_on:
            parts.append(data[at : end + _CHECKSUM.size])
        if kind == b"IEND":
            is_whole = 0 < seen.unpacked_bytes <= PACKED_TO * seen.packed_bytes and not seen.needs_palette
            return b"".join(parts) if is_whole else None
        at = end + _CHECKSUM.size
    return None


def _goes_on(seen: _Seen, kind: bytes, body: bytes) -> bool | None:
    """Whether a chunk is of the picture; None: it may not stand there, and there is no picture."""
    if (seen.unpacked_bytes == 0) != (kind == b"IHDR"):
        return None  # the header comes first, and once
    if kind.isalpha() and kind[:1].islower():  # the picture can be shown without it
        seen.is_behind = seen.packed_bytes > 0
        return len(body) <= SMALL.get(kind, -1) and _is_first(seen, kind)
    match kind:
        case b"IHDR":
            is_right = _take_header(seen, body)
        case b"PLTE":
            is_right = not seen.packed_bytes and 0 < len(body) <= 3 * 256 and len(body) % 3 == 0
            is_right = is_right and _is_first(seen, kind)
            seen.needs_palette = False
        case b"IDAT":
            seen.packed_bytes += len(body)
            is_right = not seen.is_behind
        case _:  # the end; or what it is nobody knows, and without it the picture cannot be shown
            is_right = kind == b"IEND" and not body
    return True if is_right else None


def _is_first(seen: _Seen, kind: bytes) -> bool:
    is_first = kind not in seen.once
    seen.once.add(kind)
    return is_first


def _take_header(seen: _Seen, body: bytes) -> bool:
    if len(body) != _HEADER.size:
        return False
    width, height, bits, colour, packing, filtering, interlacing = _HEADER.unpack(body)
    samples, known_bits = COLOURS.get(colour, (0, ()))
    if bits not in known_bits or packing or filtering or interlacing > 1:
        return False
    if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX):
        return False
    seen.unpacked_bytes = height * (1 + (width * samples * bits + 7) // 8)
    seen.needs_palette = colour == 3
    return seen.unpacked_bytes <= UNPACKED_BYTES_MAX
