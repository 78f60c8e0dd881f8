"""A place in a text as a byte, a character and a line: each from each other, as a plain reading of the whole says."""

from __future__ import annotations

import subprocess
from array import array
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.context.loader.index import Changed, IndexedDocument, TextIndex
from rlm_kernel_mcp.context.loader.places import Place, PlacesInBlock
from rlm_kernel_mcp.context_wire import BLOCK_BYTES
from rlm_kernel_mcp.in_kernel.loader.document import DocumentPass

PIECES: Final = ["a", "\n", "\r\n", "\r", "\0", "ü", "\u2028", "日", "😀", "x" * 50 + "\n", "\x85", "\x0b"]
BAD: Final = [b"\xff", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xed\xa0\x80", b"\xc3"]
MARKS: Final = {"utf-8": 0, "utf-8-sig": 3, "utf-16": 2, "utf-32": 4, "latin-1": 0}


def counted(*documents: bytes) -> TextIndex:
    """The index of documents, as a loader makes it."""
    rows, found = array("Q"), []
    for raw in documents:
        one = DocumentPass()
        for start in range(0, len(raw), BLOCK_BYTES):
            one.feed(raw[start : start + BLOCK_BYTES])
        assert one.finish()
        rows.extend(one.index)
        found.append(IndexedDocument(len(raw), one.encoding, one.errors, one.chars, one.lines))
    return TextIndex(found, rows)


def starts_of(raw: bytes, encoding: str, errors: str) -> list[int]:
    """Where each character begins, and the end, by decoding everything."""
    codec = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = raw.decode(encoding, errors)
    is_wide = encoding in ("utf-16", "utf-32")
    sizes = {
        char: 1 if is_wide and "\udc00" <= char <= "\udcff" else len(char.encode(codec, errors)) for char in set(text)
    }
    starts = list(accumulate(map(sizes.__getitem__, text), initial=MARKS[encoding]))
    assert starts[-1] == len(raw)
    return starts


def agree(raw: bytes, encoding: str | None = None) -> None:
    """Every place near a block's border, and some others, in all three ways."""
    before = b"line\n" * 3
    index = counted(before, raw)
    document = index.document(1)
    assert encoding is None or document.encoding == encoding
    source = before + raw
    starts = starts_of(raw, document.encoding, document.errors)
    text = raw.decode(document.encoding, document.errors)
    assert (document.chars, document.line_ends) == (len(text), text.count("\n"))

    def read(offset: int, size: int) -> bytes:
        return source[offset : offset + size]

    blocks = list[PlacesInBlock]()
    near = {0, 1, 2, 3, len(raw) - 1, len(raw)}
    near |= {border + by for border in range(BLOCK_BYTES, len(raw), BLOCK_BYTES) for by in range(-6, 7)}
    for byte in sorted(one for one in near if 0 <= one <= len(raw)):
        char = max(0, bisect_right(starts, byte) - 1)
        at = len(raw) if char == len(text) else starts[char]
        line = text.count("\n", 0, char) + 1
        place = Place(at, char, line)
        assert PlacesInBlock(index.block_of_byte(1, byte, read)).at_byte(byte) == place, byte
        blocks.append(PlacesInBlock(index.block_of_char(1, char, read)))
        for block in blocks:  # counted on from whatever was asked for last, in either direction
            assert not block.has(char) or block.at_char(char) == place, char
            assert not block.has_byte(byte) or block.at_byte(byte) == place, byte
        assert blocks[-1].has(char)
        del blocks[:-4]


@st.composite
def near_borders(draw: st.DrawFn, bad: bool) -> list[str | bytes]:
    """Filling up to a few bytes before a border, and there anything."""
    pieces: list[str | bytes] = []
    kinds = [*PIECES, *BAD] if bad else PIECES
    for _ in range(draw(st.integers(1, 2))):
        pieces.append("filling, filling\n" * (BLOCK_BYTES // 17 - draw(st.integers(0, 2))))
        pieces += draw(st.lists(st.sampled_from(kinds), max_size=12))
        pieces.append("f" * draw(st.integers(0, 9)))
        pieces += draw(st.lists(st.sampled_from(kinds), max_size=20))
    return pieces


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(near_borders(bad=True))
@example(["f" * (BLOCK_BYTES - 1), b"\xe2\x82", "a"])
@example(["f" * (BLOCK_BYTES - 2), "😀", "\n"])
@example(["f" * (BLOCK_BYTES - 1), "\r\n", "ü"])
@example(["f" * (BLOCK_BYTES - 1), b"\xf0\x9f\x98"])
def test_utf_8_with_bytes_that_do_not_decode(pieces: list[str | bytes]) -> None:
    """CRLF, NUL, characters of four bytes and halves of some, round the borders of blocks."""
    raw = b"".join(one if isinstance(one, bytes) else one.encode() for one in pieces)
    if b"\0" not in raw[: 1 << 16]:
        agree(raw)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(near_borders(bad=False), st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]))
def test_encodings_with_a_mark(pieces: list[str], encoding: str) -> None:
    """The mark is no character, and is before the first."""
    agree("".join(pieces).replace("\0", "").encode(encoding), encoding)


@pytest.mark.slow
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(near_borders(bad=False), st.sampled_from(["utf-16", "utf-32"]), st.data())
def test_wide_encodings_with_bytes_that_do_not_decode(pieces: list[str], encoding: str, data: st.DataObject) -> None:
    """Halves of pairs near a block's border, and an end in the middle of a character."""
    raw = bytearray("".join(pieces).replace("\0", "").encode(encoding))
    for by in data.draw(st.lists(st.integers(-12, 11), max_size=6)):
        at = BLOCK_BYTES + by * 2
        raw[at : at + 2] = data.draw(st.sampled_from([b"\x00\xd8", b"\x0a\xdc", b"\x41\xdc"]))
    agree(bytes(raw[: len(raw) - data.draw(st.integers(0, 3))]), encoding)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 200_000])
def test_sizes_round_a_block_s_border(size: int) -> None:
    """ASCII, and latin-1, which is known only at the end."""
    agree((b"0123456789abcde\n" * (size // 16 + 1))[:size])
    if size:
        agree((b"\xfcber\xe4\xfc\n\xf6" * (size // 8 + 1))[:size], "latin-1")


def test_lines_have_grep_s_numbers(tmp_path: Path) -> None:
    """A carriage return, a form feed or U+2028 ends no line."""
    text = "".join(
        f"{'MARK' if n % 97 == 0 else 'x'}{end}" for n, end in enumerate(["\r", "\n", "\x0b\u2028\x1c\n"] * 9_000)
    )
    path = tmp_path / "odd.txt"
    path.write_bytes(text.encode())
    raw = path.read_bytes()
    index = counted(raw)
    told = subprocess.run(["grep", "-bno", "MARK", str(path)], capture_output=True, check=True, timeout=60).stdout
    rows = [line.split(b":")[:2] for line in told.splitlines()]
    assert len(rows) > 250
    read = lambda offset, size: raw[offset : offset + size]  # noqa: E731
    blocks = [PlacesInBlock(index.block_of_byte(0, int(byte), read)) for _, byte in rows]
    lines = [block.at_byte(int(byte)).line for block, (_, byte) in zip(blocks, rows, strict=True)]
    assert lines == [int(line) for line, _ in rows]


def test_a_truncated_source_is_reported() -> None:
    """What is read is never more than is there."""
    raw = b"a line\n" * 30_000
    index = counted(raw)
    with pytest.raises(Changed, match="too early"):
        index.block_of_byte(0, 150_000, lambda offset, size: raw[:140_000][offset : offset + size])


@pytest.mark.parametrize("rows", [[1, 2, 3], [5, 1 << 40], [3, 10], [1 << 60, 1 << 60]])
def test_an_index_that_no_text_has_is_refused(rows: list[int]) -> None:
    """Too few numbers, numbers that fall, or that are larger than the text."""
    document = IndexedDocument(3 * BLOCK_BYTES, "utf-8", "strict", 3 * BLOCK_BYTES, 7)
    with pytest.raises(ValueError, match="index"):
        TextIndex([document], array("Q", rows + ([2, 20] if len(rows) == 2 else [])))
