"""Encodings are told rightly from any bytes, however they are cut into blocks."""

from __future__ import annotations

import codecs
import ctypes
import random

import pytest

from rlm_kernel_mcp.both_sides.text_encoding import BINARY, SNIFF_BYTES, EncodingDetector, char_width, errors_of

SAMPLE = "Größe des Bären → 北京 😀\r\nzweite Zeile\n"

CASES = {
    "empty": (b"", "utf-8"),
    "one ascii byte": (b"a", "utf-8"),
    "ascii": (b"plain text\n" * 50, "utf-8"),
    "utf-8": (SAMPLE.encode(), "utf-8"),
    "utf-8 with a mark": (SAMPLE.encode("utf-8-sig"), "utf-8-sig"),
    "only a utf-8 mark": (b"\xef\xbb\xbf", "utf-8-sig"),
    "utf-16 with a mark": (SAMPLE.encode("utf-16"), "utf-16"),
    "utf-16 big-endian with a mark": (b"\xfe\xff" + SAMPLE.encode("utf-16-be"), "utf-16"),
    "utf-32 with a mark": (SAMPLE.encode("utf-32"), "utf-32"),
    "utf-32 big-endian with a mark": (b"\x00\x00\xfe\xff" + SAMPLE.encode("utf-32-be"), "utf-32"),
    "only a utf-16 mark": (b"\xff\xfe", "utf-16"),
    "latin-1": ("Größe".encode("latin-1"), "latin-1"),
    "one byte of latin-1 after much ascii": (b"x" * 5_000 + b"\xe9", "utf-8"),
    "more than one byte of latin-1 in 1,000": (b"x" * 900 + b"\xe9", "latin-1"),
    "utf-8 with a line of latin-1": ("Müller\n".encode() * 3 + "Müller\n".encode("latin-1"), "utf-8"),
    "utf-8 with a mark and a line of latin-1": ("\ufeffMüller\n".encode() * 3 + b"M\xfcller\n", "utf-8-sig"),
    "latin-1 that looks like utf-8 once": ("Ã¤ größer, schöner, überall".encode("latin-1"), "latin-1"),
    "utf-8 cut at its end": (SAMPLE.encode() + "ß".encode()[:1], "utf-8"),
    "utf-8 cut within a character": ("Größe".encode()[:3], "latin-1"),
    "encoded surrogates": ("\ud800".encode("utf-8", "surrogatepass"), "latin-1"),
    "utf-16 of odd length": (SAMPLE.encode("utf-16") + b"x", "utf-16"),
    "a small utf-16 of odd length": ("\ufeffhi".encode("utf-16-le") + b"\n", "utf-16"),
    "a small utf-16 cut within a pair": ("\ufeffhi 😀".encode("utf-16-be")[:-1], "utf-16"),
    "a small utf-32 cut within a character": ("\ufeffhi".encode("utf-32-le")[:-1], "utf-32"),
    "a utf-16 mark and a NUL": (b"\xff\xfe\x00", BINARY),
    "a utf-16 mark before what is none, with NUL": (b"\xff\xfe\x00\x00\x00" + b"\x00\xd8" * 9, BINARY),
    "a mark that lies, without NUL": (b"\xff\xfe" + b"\x00\xd8".replace(b"\x00", b"\x01") * 3, "latin-1"),
    "a NUL": (b"PK\x03\x04\x00\x00", BINARY),
    "a NUL after a utf-8 mark": (b"\xef\xbb\xbfab\x00", BINARY),
    "a NUL in the last byte looked at": (b"a" * (SNIFF_BYTES - 1) + b"\x00", BINARY),
    "a NUL after the bytes looked at": (b"a" * SNIFF_BYTES + b"\x00", "utf-8"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("block_bytes", [1, 3, 7, 4096, 1 << 20])
def test_the_encoding_does_not_depend_on_how_the_bytes_are_cut(name: str, block_bytes: int) -> None:
    """Each sample is told the same by blocks of any size."""
    data, expected = CASES[name]
    if len(data) > 10_000 and block_bytes < 4096:
        block_bytes = 4093
    detector = EncodingDetector()
    for start in range(0, len(data), block_bytes):
        detector.feed(data[start : start + block_bytes])
    assert detector.finish() == expected


def test_the_reported_encoding_decodes_all_bytes_without_loss() -> None:
    """Random bytes and random cuts: the encoding answered decodes the whole and gives the same bytes again."""
    chance = random.Random(20)
    alphabet = [b"a", b"\n", "é".encode(), "😀".encode(), b"\xff", b"\xfe", b"\xef\xbb\xbf", b"\x80"]
    told = set()
    for _ in range(2_000):
        data = b"".join(chance.choices(alphabet, k=chance.randint(0, 9)))
        detector = EncodingDetector()
        cut = chance.randint(0, len(data))
        detector.feed(data[:cut])
        detector.feed(data[cut:])
        encoding = detector.finish()
        told.add(encoding)
        text = data.decode(encoding, errors_of(encoding))
        if encoding not in ("utf-16", "utf-32"):  # their encoders write this machine's own byte order
            assert text.encode(encoding, "surrogateescape") == data
            assert sum("\udc80" <= char <= "\udcff" for char in text) == detector.undecodable_bytes
    assert {"utf-8", "utf-8-sig", "latin-1"} <= told


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_the_bytes_of_a_wide_encoding_can_be_recovered(mark: bytes, codec: str) -> None:
    """Lone halves of pairs, numbers that no character has, and an end in the middle of one: each byte is a character.

    By the way that docs/limitations.md tells.
    """
    chance = random.Random(21)
    units = [char.encode(codec) for char in "a\n\xe9\u65e5\U0001f680"]
    bad = [b"\xd8\x00", b"\x00\xd8", b"\xdc\x41", b"\x0a\xdc", b"\xff\xff\xff\xff", b"\x41", b"\x00\x00\x11\x00"]
    seen = 0
    for _ in range(2_000):
        data = mark + b"".join(chance.choices(units * 4 + bad, k=chance.randint(0, 60)))
        detector = EncodingDetector()
        cut = chance.randint(0, len(data))
        detector.feed(data[:cut])
        detector.feed(data[cut:])
        if (encoding := detector.finish()) not in ("utf-16", "utf-32"):
            continue
        text = str(memoryview(data), encoding, errors_of(encoding))
        kept = [bytes([ord(c) - 0xDC00]) if "\udc00" <= c <= "\udcff" else c.encode(codec) for c in text]
        assert mark + b"".join(kept) == data
        assert sum("\udc00" <= c <= "\udcff" for c in text) == detector.undecodable_bytes
        seen += detector.undecodable_bytes > 0
    assert seen > 20


def test_a_binary_document_is_recognised_before_its_end() -> None:
    """The reader of a large binary file can stop at its first NUL."""
    detector = EncodingDetector()
    detector.feed(b"\x7fELF\x00" + b"x" * 100)
    assert detector.is_binary


@pytest.mark.parametrize(
    ("data", "bad_bytes"),
    [
        ("Müller\n".encode() * 1_000, 0),
        ("Müller\n".encode() * 1_000 + "Müller\n".encode("latin-1"), 1),
        ("größer\n".encode() * 1_000 + b"\xfc\xe9 \xff\n" * 5, 15),
        (SAMPLE.encode() + "😀".encode()[:3], 3),
        (SAMPLE.encode("utf-16") + b"x", 1),
        ("\ufeffhi".encode("utf-16-le") + b"\n", 1),
        ("Größe".encode("latin-1"), 0),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 3, 4096])
def test_the_bytes_that_do_not_decode_are_counted(data: bytes, bad_bytes: int, block_bytes: int) -> None:
    """One for each byte, however the blocks cut them; latin-1 decodes every byte."""
    detector = EncodingDetector()
    for start in range(0, len(data), block_bytes):
        detector.feed(data[start : start + block_bytes])
    detector.finish()
    assert detector.undecodable_bytes == bad_bytes


@pytest.mark.parametrize("widest", ["\x7f", "\xe9", "\xff", "\u0416", "\uffff", "\U0001f600"])
@pytest.mark.parametrize("count", [1, 2, 33, 64, 65, 1_000])
def test_a_text_is_as_wide_as_its_widest_character_whatever_was_done_to_it(widest: str, count: int) -> None:
    """Its size tells it, and has its UTF-8 in it once C code has looked at that: of a single letter, and a literal."""
    as_utf_8 = ctypes.pythonapi.PyUnicode_AsUTF8
    as_utf_8.argtypes, as_utf_8.restype = [ctypes.py_object], ctypes.c_char_p
    expected = 0 if widest < "\x80" else 1 if widest < "\u0100" else 2 if widest <= "\uffff" else 4
    for text in (widest * count, "a" * (count - 1) + widest, widest + "a" * (count - 1), "a" * count + widest + "b"):
        assert char_width(text) == expected
        as_utf_8(text)
        assert char_width(text) == expected
