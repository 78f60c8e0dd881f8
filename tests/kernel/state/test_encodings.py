"""A document with some bytes that do not decode is that document in the kernel too, and the reply says where."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.session.context_reports import ContextReport
from tests.sessions import AMPLE, SessionDriver, open_registry

pytestmark = pytest.mark.anyio
LINES: Final = "Müller war hier\n"


async def test_one_line_of_latin_1_spoils_no_other(tmp_path: Path) -> None:
    """1,000 lines of UTF-8 are 1,000 lines of UTF-8; the one bad byte is named, and can be had back."""
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "good.txt").write_text(LINES * 10, encoding="utf-8")
    raw = LINES.encode() * 1_000 + LINES.encode("latin-1")
    (directory / "mixed.txt").write_bytes(raw)
    (directory / "old.txt").write_bytes(LINES.encode("latin-1") * 5)
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(directory)) as registry:
        told = await registry.init_context(context_text=None, context_paths=[str(directory)], limits=AMPLE)
        assert isinstance(told.context, ContextReport)
        assert told.context.undecodable_bytes == 1
        assert told.context.undecodable_in == {"mixed.txt": 1}
        assert told.context.encodings == {"utf-8": 2, "latin-1": 1}
        session = SessionDriver(registry, told.session_id)
        assert (await session.ok("context.count('Müller')")).result == "1015"
        assert (await session.ok("documents['mixed.txt'].count('Müller')")).result == "1000"
        await session.ok("raw = documents['mixed.txt'].encode('utf-8', 'surrogateescape')")
        assert (await session.ok("len(raw), raw[-10:].hex()")).result == repr((len(raw), raw[-10:].hex()))


@pytest.mark.parametrize("size", [2, 3])
async def test_what_does_not_decode_as_utf_16_can_be_had_back_in_the_kernel(tmp_path: Path, size: int) -> None:
    """Half a pair in the middle, and an end in the middle of a character; as docs/limitations.md says."""
    directory = tmp_path / "data"
    directory.mkdir()
    raw = (LINES * 100).encode("utf-16") + b"\x0a\xd8" + LINES.encode("utf-16-le") + b"\x3d\xd8\x00"[:size]
    (directory / "wide.txt").write_bytes(raw)
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(directory)) as registry:
        told = await registry.init_context(context_text=None, context_paths=[str(directory)], limits=AMPLE)
        assert isinstance(told.context, ContextReport)
        assert (told.context.encodings, told.context.undecodable_bytes) == ({"utf-16": 1}, 2 + size)
        session = SessionDriver(registry, told.session_id)
        await session.ok(
            "back = b''.join(bytes([ord(c) - 0xDC00]) if '\\udc00' <= c <= '\\udcff' else c.encode('utf-16-le') "
            "for c in context)"
        )
        digest = hashlib.sha256(raw[2:]).hexdigest()
        await session.ok("import hashlib; told = hashlib.sha256(back).hexdigest()")
        assert (await session.ok("context.count('Müller'), told")).result == repr((101, digest))


async def test_a_document_is_cut_where_it_ends_even_in_the_middle_of_a_character(tmp_path: Path) -> None:
    """The half of a character at one document's end and the half at the next one's beginning make no character."""
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "a.txt").write_bytes(LINES.encode() * 3 + "ü".encode()[:1])
    (directory / "b.txt").write_bytes("ü".encode()[1:] + LINES.encode() * 3)
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(directory)) as registry:
        told = await registry.init_context(context_text=None, context_paths=[str(directory)], limits=AMPLE)
        assert isinstance(told.context, ContextReport)
        assert told.context.undecodable_in == {"a.txt": 1, "b.txt": 1}
        session = SessionDriver(registry, told.session_id)
        assert (await session.ok("documents['a.txt'][-1], documents['b.txt'][0]")).result == r"('\udcc3', '\udcbc')"
