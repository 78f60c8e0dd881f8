"""How a context is held: what decides it, and what cannot be mapped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.held import Room, lies_in_memory
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import resolve_sources
from rlm_kernel_mcp.errors import ContextTooLarge
from rlm_kernel_mcp.policy import load_policy
from tests.parts import ROOT

POLICY = load_policy(ROOT / "kernelspecs" / "rlm-python" / "policy.json")
GB = 1 << 30
ROOM = Room(decoded_bytes=100_000, in_memory_bytes=40_000, mapped_bytes=1_000_000)
LATIN = b"\xe9t\xe9 " * 10_000


def built(monkeypatch: pytest.MonkeyPatch, root: Path, *contents: bytes, memory: bool = False) -> Payload:
    """The payload of files with these bytes, on a disk or not."""
    monkeypatch.setattr("rlm_kernel_mcp.context.reading.lies_in_memory", lambda _descriptor: memory)
    for number, content in enumerate(contents):
        (root / f"{number}.txt").write_bytes(content)
    sources = resolve_sources(["."], roots=Roots.named(root), working_dir=root, max_bytes=ROOM.max_bytes)
    return build_payload(sources, room=ROOM)


@pytest.mark.parametrize(
    ("memory_mb", "in_memory_mb", "expected_mb"), [(1024, 256, 256), (512, 256, 128), (8192, 256, 256), (8192, 64, 64)]
)
def test_what_is_held_in_memory_is_the_smaller_of_the_policy_s_size_and_a_quarter(
    memory_mb: int, in_memory_mb: int, expected_mb: int
) -> None:
    """What has to be decoded may take 60 % of the memory, whatever that size."""
    raw = POLICY.model_dump()
    raw["limits"]["memory_mb"], raw["context"]["in_memory_mb"] = memory_mb, in_memory_mb
    room = Room.of(type(POLICY).model_validate(raw))
    assert (room.in_memory_bytes, room.mapped_bytes) == (expected_mb << 20, 64 * GB)
    assert room.decoded_bytes == int(memory_mb * (1 << 20) * 0.6)
    assert room.held(expected_mb << 20, can_be_mapped=True) == "memory"
    assert room.held((expected_mb << 20) + 1, can_be_mapped=True) == "mapped"
    assert room.held((expected_mb << 20) + 1, can_be_mapped=False) == "memory"
    assert room.held(64 * GB + 1, can_be_mapped=True) == "memory"


@pytest.mark.parametrize(
    ("contents", "layout", "lines"),
    [
        ([b"one\ntwo\n" * 10_000], "ascii", 20_000),
        ([b"one\ntwo" * 10_000], "ascii", 10_001),
        ([b"", b"x\n" * 30_000, b""], "ascii", 30_000),
        ([b"x" * 30_000, b"y\n" * 30_000], "ascii", 30_000),
        ([LATIN, LATIN], "latin-1", 1),
        ([b"x\n" * 30_000, LATIN], "latin-1", 30_001),
        ([b"x" * 60_000, "\u4e2d".encode()], None, None),
        ([b"x" * 60_000, b"\xef\xbb\xbfmarked"], None, None),
        ([("x" * 30_000).encode("utf-16")], None, None),
        ([b"x" * 60_000 + b"\xff"], None, None),
        ([b"x" * 32_767 + "\u00e9".encode() + b"x" * 30_000], None, None),
    ],
)
def test_a_layout_is_known_where_each_byte_is_a_character(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contents: list[bytes], layout: str | None, lines: int | None
) -> None:
    """And then how many lines there are; what has to be decoded is counted by whoever decodes it."""
    with built(monkeypatch, tmp_path, *contents) as payload:
        assert (payload.layout, payload.lines) == (layout, lines)
        assert payload.held == ("mapped" if layout else "memory")


def test_a_file_in_memory_is_decoded_whatever_it_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its pages would be the kernel's memory once they are read."""
    with built(monkeypatch, tmp_path, b"x" * 60_000, memory=True) as payload:
        assert (payload.layout, payload.held) == (None, "memory")


def test_a_file_system_of_memory_is_known_and_a_disk_is_none() -> None:
    """By the device of the file that is open, and not by its name."""
    for place, expected in (("/dev/shm", True), (str(ROOT), False)):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            assert lies_in_memory(descriptor) is expected
        finally:
            os.close(descriptor)


@pytest.mark.parametrize(
    ("contents", "memory"),
    [
        ([b"x" * 99_000, "\u4e2d".encode() + b"y" * 5_000], False),
        (["\u4e2d".encode() * 300_000], False),
        ([b"x" * 100_001], True),
        ([b"x" * 60_000, b"y" * 60_000], True),
    ],
    ids=["the second is UTF-8", "one of UTF-8", "one in memory", "copies in memory"],
)
def test_what_has_to_be_decoded_has_its_share_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contents: list[bytes], memory: bool
) -> None:
    """The message has the bytes that were seen, the factor, the limit and the setting."""
    with pytest.raises(ContextTooLarge) as refused:
        built(monkeypatch, tmp_path, *contents, memory=memory)
    for words in ("1 to 4 bytes per character", "100,000 bytes", "RLM_MEMORY_LIMIT_MB"):
        assert words in refused.value.message


def test_no_context_has_more_than_is_mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is in it."""
    with pytest.raises(ContextTooLarge, match="the limit is 1,000,000 bytes"):
        built(monkeypatch, tmp_path, b"x" * 1_000_001)
