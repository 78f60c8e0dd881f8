"""Which sources the host's own thread reads, and which are handed to a loader."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.loader.compressed import form_of, is_archive
from rlm_kernel_mcp.context.patterns.left_out import Skipped
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import Source, Sources
from rlm_kernel_mcp.session.contexts.source import needs_loader
from rlm_kernel_mcp.units import MB

ROOM = Room(decoded_bytes=600 * MB, in_memory_bytes=256 * MB, mapped_bytes=64 << 30)


def sources(count: int, byte_count: int, name: str = "a.txt") -> Sources:
    files = tuple(Source(f"{number}/{name}", f"/{number}/{name}") for number in range(count))
    return Sources(files, "/", Roots(), ROOM.max_bytes, Skipped(), byte_count)


@pytest.mark.parametrize(
    ("count", "byte_count", "by_loader"),
    [
        (1, 8 * MB - 1, False),
        (1, 8 * MB, True),
        (20_000, 17 * MB, False),
        (1_000, 17 * MB, True),
        (200_000, 256 * MB, False),
        (200_000, 256 * MB + 1, True),
    ],
)
def test_large_sources_need_a_loader_but_small_files_that_go_into_memory_do_not(
    count: int, byte_count: int, *, by_loader: bool
) -> None:
    """What is mapped or spooled is laid out by a loader; each file costs more to hand over than to read."""
    assert needs_loader(sources(count, byte_count), ROOM) is by_loader


def test_a_compressed_file_needs_one_however_small_it_is() -> None:
    """The host unpacks nothing."""
    assert needs_loader(sources(1, 10, "a.log.GZ"), ROOM)


def test_files_are_known_by_the_end_of_their_names() -> None:
    """Whatever case it has, and whatever dots stand before it."""
    forms = {"a.gz": "gzip", "b.BZ2": "bzip2", "c.xz": "xz", "d.zst": "zstd", "e.x.zstd": "zstd", ".gz": "gzip"}
    assert {name: form_of(f"/d.d/{name}") for name in forms} == forms
    assert {form_of(name) for name in ("gz", "/a/gz", "a.gz.txt", "a.gzip", "/a.gz/b")} == {"plain"}
    assert all(is_archive(f"/d/{name}") for name in ("a.zip", "a.tar", "a.TAR.gz", "a.tgz", "a.tar.zst", "a.b.whl"))
    assert not any(is_archive(name) for name in ("a.gz", "/a.zip/b", "zip", "/tar.gz", "a.zip.txt", "a.log.xz"))
