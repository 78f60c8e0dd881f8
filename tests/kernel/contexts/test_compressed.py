"""Compressed files are documents of what they unpack to; what is damaged is named, and a bomb ends within its limit."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.errors import ContextDenied, ContextTooLarge, InvalidInput
from rlm_kernel_mcp.in_kernel.loader.unpacking import zstd_module
from tests.kernel.contexts.conftest import Load, held_bytes
from tests.parts import one_of_each

TEXT: Final = "".join(f"line {n} Grüße\n" for n in range(20_000)).encode()
PACK: Final[dict[str, Callable[[bytes], bytes]]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
if (zstd := zstd_module()) is not None:
    PACK["zst"] = lambda data: bytes(zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}))
MB: Final = 1 << 20

FORMS = pytest.mark.parametrize("end", PACK)
ONE_FORM = pytest.mark.parametrize("end", one_of_each({end: end for end in PACK}, {"gz"}))
"""For what takes a second in each, and is in our code and not in theirs."""


@FORMS
def test_a_compressed_file_is_a_document_of_what_it_unpacks_to(directory: Path, read: Load, end: str) -> None:
    """Alone, and beside others; its name keeps its end."""
    (directory / f"a.txt.{end}").write_bytes(PACK[end](TEXT))
    (directory / "b.txt").write_bytes(b"plain\n")
    with read(f"a.txt.{end}") as payload:
        assert held_bytes(payload) == TEXT
        assert [(one.name, one.byte_count, one.encoding) for one in payload.documents] == [
            (f"a.txt.{end}", len(TEXT), "utf-8")
        ]
    with read(".") as payload:
        assert held_bytes(payload) == TEXT + b"plain\n"


@FORMS
def test_members_one_after_the_other_are_one_text(directory: Path, read: Load, end: str) -> None:
    """As a log that is appended to has them; zeroes behind them are padding."""
    (directory / f"a.{end}").write_bytes(PACK[end](TEXT) + PACK[end](b"") + PACK[end](b"more\n") + bytes(512))
    with read(f"a.{end}") as payload:
        assert held_bytes(payload) == TEXT + b"more\n"


@FORMS
@pytest.mark.parametrize("kept", [0, 1, 3, 10, 0.5, -1])
def test_a_stream_that_is_cut_off_is_an_error_that_names_the_byte(
    directory: Path, read: Load, end: str, kept: float
) -> None:
    """No text is a part of what it was without a word."""
    packed = PACK[end](TEXT)
    size = int(kept * len(packed)) if 0 < kept < 1 else int(kept) % len(packed)
    (directory / f"a.{end}").write_bytes(packed[:size])
    with pytest.raises(ContextDenied, match=rf"'a\.{end}' cannot be read: its .* end too early, after {size:,} bytes"):
        read(f"a.{end}")


@FORMS
def test_bytes_behind_the_end_are_an_error(directory: Path, read: Load, end: str) -> None:
    """They may be what matters; in a directory the file is left out, with the reason."""
    packed = PACK[end](TEXT)
    (directory / f"a.{end}").write_bytes(packed + b"not packed at all")
    (directory / "b.txt").write_bytes(b"plain\n")
    with pytest.raises(ContextDenied, match=rf"'a\.{end}' cannot be read: its .* data are corrupt from about byte"):
        read(f"a.{end}")
    with read(".") as payload:
        assert [one.name for one in payload.documents] == ["b.txt"]
        assert re.fullmatch(rf"a\.{end}: its \w+ data are corrupt from about byte [\d,]+ on", payload.skipped.first[0])


@FORMS
def test_a_damaged_stream_is_an_error(directory: Path, read: Load, end: str) -> None:
    """Whatever it unpacks to before the damage, which may be no text."""
    packed = bytearray(PACK[end](TEXT))
    packed[len(packed) // 2] ^= 0x55
    packed[len(packed) // 2 + 1] ^= 0x55
    (directory / f"a.{end}").write_bytes(packed)
    with pytest.raises((ContextDenied, InvalidInput), match=rf"'a\.{end}' (cannot be read|is binary)"):
        read(f"a.{end}")


@ONE_FORM
def test_a_bomb_ends_at_its_ratio(directory: Path, read: Load, end: str) -> None:
    """64 MB of one line may be as dense as they like; what is left is nothing on disk."""
    (directory / f"a.{end}").write_bytes(PACK[end](b"bomb\n" * 100_000) * 140)
    with pytest.raises(
        ContextTooLarge, match=r"unpack to 67,\d\d\d,\d\d\d bytes.*200 times.*unpacked_ratio_max"
    ) as told:
        read(f"a.{end}")
    assert told.value.next_step.startswith("Unpack it yourself")
    with pytest.raises(ContextTooLarge) as told:
        read(".")
    assert told.value.next_step.startswith("Leave it out by exclude, or unpack it yourself")


@ONE_FORM
def test_many_compressed_files_have_one_limit(directory: Path, read: Load, end: str) -> None:
    """Each may be honest; a bomb of many would be none."""
    for number in range(5):
        (directory / f"{number}.{end}").write_bytes(PACK[end](TEXT))
    with pytest.raises(ContextTooLarge, match=rf"'2\.{end}' unpacks to more than is left of the 1,000,000 bytes"):
        read(".", unpacked_bytes=1_000_000)


def test_a_stream_that_asks_for_more_memory_than_there_is(directory: Path, read: Load) -> None:
    """An xz file of 100 bytes may ask for 4 GB."""
    packed = bytearray(lzma.compress(b"text\n" * 100))
    size = (packed[12] + 1) * 4
    header = packed[12 : 12 + size - 4]
    at = header.index(b"\x21\x01") + 2
    header[at] = 40
    packed[12 : 12 + size] = header + zlib.crc32(header).to_bytes(4, "little")
    (directory / "a.xz").write_bytes(packed)
    with pytest.raises(ContextTooLarge, match="more memory"):
        read("a.xz")


def test_zstd_without_its_module_names_what_to_install(directory: Path, read: Load) -> None:
    """Python has one from 3.14 on."""
    if zstd_module() is not None:
        pytest.skip("this Python has a module for zstd")
    (directory / "a.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(InvalidInput, match=r"'a\.zst' is compressed with zstd") as refused:
        read("a.zst")
    assert "rlm-kernel-mcp[zstd]" in refused.value.next_step
