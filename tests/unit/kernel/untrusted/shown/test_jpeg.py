"""A JPEG from a kernel: a picture, and nothing but the picture, goes on."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.untrusted.shown.jpeg import SCANS_MAX, SEGMENTS_MAX, clean_jpeg
from tests.unit.kernel.untrusted.shown.drawn import SCAN, frame, jpeg, segment

JFIF: Final = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
ADOBE: Final = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
TABLES: Final = segment(0xDB, bytes(65)) + segment(0xC4, bytes(20)) + segment(0xDD, b"\0\4")


@pytest.mark.parametrize(
    "picture",
    [
        jpeg(),
        jpeg(JFIF, ADOBE, TABLES),
        jpeg(of=frame(kind=0xC2, components=3), scan=SCAN + TABLES + SCAN),
        jpeg(of=frame(components=4)),
        jpeg(of=frame(16_384, 1_900)),
    ],
    ids=["plain", "tables", "progressive", "four colours", "the largest"],
)
def test_a_picture_goes_on_byte_by_byte(picture: bytes) -> None:
    assert clean_jpeg(picture) == picture


@pytest.mark.parametrize(
    "beside",
    [
        segment(0xE1, b"Exif\0\0where it was taken"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        segment(0xE2, b"ICC_PROFILE\0" + bytes(1_000)),
        segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\1\1" + bytes(3)),
        segment(0xEE, b"Adobe and more than that"),
        segment(0xFE, b"<script>"),
    ],
    ids=["exif", "xmp", "profile", "thumbnail", "another program's", "comment"],
)
def test_what_is_not_the_picture_stays_behind(beside: bytes) -> None:
    assert clean_jpeg(jpeg(beside)) == jpeg()


def test_nothing_behind_the_end_goes_on() -> None:
    """A file may be two files, and who opens it chooses which."""
    assert clean_jpeg(jpeg() + b"PK\3\4") == jpeg()


DAMAGED: Final = {
    "nothing": b"",
    "its beginning alone": b"\xff\xd8\xff",
    "a length alone": b"\xff\xd8\xff\xda\0",
    "html in its place": b"<html>" + jpeg(),
    "no end": jpeg()[:-2],
    "nothing but an end": b"\xff\xd8\xff\xd9",
    "no frame": jpeg(of=b""),
    "two frames": jpeg(frame()),
    "no scan": jpeg(scan=b""),
    "a scan before the frame": jpeg(of=SCAN + frame()),
    "a length beyond the end": jpeg(b"\xff\xdb\xff\xff"),
    "a length of nothing": jpeg(b"\xff\xdb\0\0"),
    "no width": jpeg(of=frame(width=0)),
    "no height": jpeg(of=frame(height=0)),
    "too wide": jpeg(of=frame(16_385, 1)),
    "64 million pixels": jpeg(of=frame(8_000, 8_000)),
    "four billion pixels": jpeg(of=frame(65_535, 65_535)),
    "twelve bits": jpeg(of=frame(bits=12)),
    "two colours": jpeg(of=frame(components=2)),
    "a frame of another length": jpeg(of=segment(0xC0, b"\x08\0\4\0\5\1")),
    "lossless": jpeg(of=frame(kind=0xC3)),
    "arithmetic": jpeg(of=frame(kind=0xC9)),
    "an unknown segment": jpeg(segment(0xF0, b"x")),
    "no marker between segments": jpeg(b"text"),
    "scans without end": jpeg(scan=SCAN * (SCANS_MAX + 1)),
    "segments without end": jpeg(segment(0xFE, b"") * SEGMENTS_MAX),
    "a scan that is only fill": jpeg()[:-2] + b"\xff" * 1_000_000,
    "a scan that is only escapes": jpeg()[:-2] + b"\xff\0" * 500_000,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_what_is_no_picture_or_too_large_a_one_does_not_go_on(data: bytes) -> None:
    assert clean_jpeg(data) is None


@given(st.data())
def test_whatever_is_done_to_a_picture_what_goes_on_is_one(data: st.DataObject) -> None:
    """Bytes changed, removed and added anywhere: nothing raises, and what goes on passes again as it is."""
    picture = bytearray(jpeg(JFIF, segment(0xFE, b"x"), TABLES))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(picture) - 1))
        picture[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    found = clean_jpeg(bytes(picture))
    assert found is None or clean_jpeg(found) == found
