"""A PNG from a kernel: a picture, and nothing but the picture, goes on."""

from __future__ import annotations

import struct
import zlib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.untrusted.shown.png import CHUNKS_MAX, clean_png
from tests.unit.kernel.untrusted.shown.drawn import END, PIXELS, PNG_SIGNATURE, chunk, header, png

PALETTE: Final = chunk(b"PLTE", bytes(6))
INDEXED: Final = header(colour=3, bits=1)
ONE_PIXEL: Final = chunk(b"IDAT", zlib.compress(bytes(4)))


@pytest.mark.parametrize(
    "picture",
    [
        png(),
        png(chunk(b"pHYs", bytes(9)), chunk(b"gAMA", bytes(4)), chunk(b"sRGB", b"\0")),
        png(PALETTE, chunk(b"tRNS", b"\0"), of=INDEXED),
        png(pixels=chunk(b"IDAT", b"") + PIXELS + chunk(b"IDAT", b"")),
        png(of=header(16_384, 1), pixels=chunk(b"IDAT", zlib.compress(bytes(3 * 16_384 + 1)))),
    ],
    ids=["plain", "small chunks", "palette", "pixels in parts", "the longest side"],
)
def test_a_picture_goes_on_byte_by_byte(picture: bytes) -> None:
    assert clean_png(picture) == picture


@pytest.mark.parametrize(
    "beside",
    [
        chunk(b"tEXt", b"Comment\0who made it"),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000))),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(100_000))),
        chunk(b"eXIf", b"where it was taken"),
        chunk(b"acTL", bytes(8)),
        chunk(b"prVt", b"of a program"),
        chunk(b"pHYs", bytes(10)),
        chunk(b"gAMA", bytes(4)) * 2,
    ],
    ids=["text", "packed text", "packed profile", "place", "animation", "private", "too long", "twice"],
)
def test_what_is_not_the_picture_stays_behind(beside: bytes) -> None:
    """Packed text and profiles are unpacked by decoders without a bound of ours."""
    assert clean_png(png(beside)) in (png(), png(chunk(b"gAMA", bytes(4))))


@pytest.mark.parametrize("behind", [b"PK\3\4", b"<html><script>", png()], ids=["zip", "html", "another picture"])
def test_nothing_behind_the_end_goes_on(behind: bytes) -> None:
    """A file may be two files, and who opens it chooses which."""
    assert clean_png(png() + behind) == png()


DAMAGED: Final = {
    "nothing": b"",
    "the signature alone": PNG_SIGNATURE,
    "another signature": b"GIF89a" + png()[6:],
    "html in its place": b"<html>" + png(),
    "no end": png()[: -len(END)],
    "cut off in a chunk": png()[:-5],
    "a length beyond the end": PNG_SIGNATURE + header() + struct.pack(">I", 1 << 31) + PIXELS[4:] + END,
    "a length of four GB": PNG_SIGNATURE + b"\xff\xff\xff\xff" + header()[4:] + PIXELS + END,
    "a wrong checksum": png().replace(PIXELS, PIXELS[:-1] + bytes([PIXELS[-1] ^ 1])),
    "no header": PNG_SIGNATURE + PIXELS + END,
    "two headers": png(header()),
    "pixels before the header": PNG_SIGNATURE + PIXELS + header() + END,
    "no pixels": png(pixels=b""),
    "pixels apart": png(pixels=PIXELS + chunk(b"tEXt", b"x") + PIXELS),
    "a palette behind the pixels": png(pixels=PIXELS + PALETTE, of=INDEXED),
    "no palette": png(of=INDEXED),
    "two palettes": png(PALETTE, PALETTE, of=INDEXED),
    "half a colour": png(chunk(b"PLTE", bytes(4)), of=INDEXED),
    "a chunk that has to be understood": png(chunk(b"ABCD", b"x")),
    "a chunk without a name": png(chunk(b"\0\0\0\0", b"x")),
    "an end that has something in it": png()[: -len(END)] + chunk(b"IEND", b"x"),
    "a short header": png(of=chunk(b"IHDR", bytes(12))),
    "no width": png(of=header(width=0)),
    "no height": png(of=header(height=0)),
    "bits that no colour has": png(of=header(bits=3)),
    "a colour that is none": png(of=header(colour=5)),
    "another packing": png(of=header(rest=b"\1\0\0")),
    "another filtering": png(of=header(rest=b"\0\1\0")),
    "another interlacing": png(of=header(rest=b"\0\0\2")),
    "too wide": png(of=header(16_385, 1), pixels=chunk(b"IDAT", bytes(100))),
    "too high": png(of=header(1, 16_385), pixels=chunk(b"IDAT", bytes(100))),
    "768 MB of pixels": png(of=header(16_000, 16_000), pixels=chunk(b"IDAT", bytes(1_000_000))),
    "2 GB of pixels": png(of=header(16_384, 16_384, 16, 6), pixels=chunk(b"IDAT", bytes(1_000_000))),
    "four billion by four billion": png(of=header((1 << 32) - 1, (1 << 32) - 1)),
    "more pixels than its bytes can be unpacked to": png(of=header(3_000, 3_000), pixels=chunk(b"IDAT", bytes(1_000))),
    "too many chunks": png(chunk(b"tEXt") * CHUNKS_MAX),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_what_is_no_picture_or_too_large_a_one_does_not_go_on(data: bytes) -> None:
    """By its header: a decoder takes the memory of what that declares, before it has seen a pixel."""
    assert clean_png(data) is None


@given(st.data())
def test_whatever_is_done_to_a_picture_what_goes_on_is_one(data: st.DataObject) -> None:
    """Bytes changed, removed and added anywhere: nothing raises, and what goes on passes again as it is."""
    picture = bytearray(png(chunk(b"tEXt", b"Comment\0x"), PALETTE))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(picture) - 1))
        picture[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    found = clean_png(bytes(picture))
    assert found is None or clean_png(found) == found
