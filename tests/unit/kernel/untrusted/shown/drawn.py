"""Pictures for tests, made byte by byte: what a kernel would send that shows one, and what a hostile one would."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Final

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int = 3, height: int = 2, bits: int = 8, colour: int = 2, rest: bytes = bytes(3)) -> bytes:
    """The first chunk of a PNG."""
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, bits, colour) + rest)


PIXELS: Final = chunk(b"IDAT", zlib.compress(bytes(2 * (1 + 3 * 3))))
END: Final = chunk(b"IEND")


def png(*between: bytes, of: bytes = header(), pixels: bytes = PIXELS) -> bytes:
    """A PNG of 3 by 2 pixels, with other chunks before its pixels."""
    return PNG_SIGNATURE + of + b"".join(between) + pixels + END


def large_png(size: int) -> bytes:
    """A PNG of about so many bytes, none of which is beside the picture: pixels that do not pack."""
    side = int((size / 3) ** 0.5)
    rows = b"".join(b"\0" + bytes((7 * x * y + x) & 255 for x in range(3 * side)) for y in range(side))
    return png(of=header(side, side), pixels=chunk(b"IDAT", zlib.compress(rows, 0)))


def segment(kind: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body


def frame(width: int = 5, height: int = 4, kind: int = 0xC0, bits: int = 8, components: int = 1) -> bytes:
    """The frame of a JPEG, which has its size."""
    return segment(kind, struct.pack(">BHHB", bits, height, width, components) + b"\1\x11\0" * components)


SCAN: Final = segment(0xDA, b"\1\1\0\0?\0") + b"data\xff\0more\xff\xd0still"


def jpeg(*between: bytes, of: bytes = frame(), scan: bytes = SCAN) -> bytes:
    """A JPEG, with other segments before its frame."""
    return b"\xff\xd8" + b"".join(between) + of + scan + b"\xff\xd9"


def base64_of(data: bytes) -> str:
    """As it stands in a message."""
    return base64.b64encode(data).decode()
