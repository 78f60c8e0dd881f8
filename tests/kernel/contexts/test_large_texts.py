"""A text that the client gives itself may be larger than its session's memory: it lies in a file of the server's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.context import inline
from rlm_kernel_mcp.context.held import Room, lies_in_memory
from rlm_kernel_mcp.context.inline import inline_payload
from rlm_kernel_mcp.context.loader.spool import Spool
from rlm_kernel_mcp.errors import ContextTooLarge
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.registry import Registry
from tests.losses import lost, settle
from tests.sessions import AMPLE, SessionDriver, open_registry

pytestmark = pytest.mark.anyio
MB = 1 << 20
LINES = {"ascii": "a line\n", "latin-1": "é line\n", "ucs2": "Ж \ud800\n", "ucs4": "😀 \udfff\r\n"}


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    probe = os.open(tmp_path, os.O_RDONLY)
    try:
        if lies_in_memory(probe):
            pytest.skip("the state directory is memory here, and nothing there is mapped")
    finally:
        os.close(probe)
    policy = {"context": {"in_memory_mb": 1}}
    async with open_registry(tmp_path / "state", policy=policy, RLM_MEMORY_LIMIT_MB="64") as opened:
        yield opened


def used_bytes(registry: Registry) -> int:
    """Bytes of the server's own files."""
    assert registry._shared.loaders is not None
    return registry._shared.loaders.spool.used_bytes


@pytest.mark.slow
async def test_texts_of_every_width_are_what_was_given_and_come_back(registry: Registry) -> None:
    """An exact str each, in no one's memory; a second name for one is a reference, and `del` frees nothing."""
    text = LINES["ascii"] * (10 * MB)
    opened = await registry.init_context(context_text=text, context_paths=None, limits=AMPLE)
    session = SessionDriver(registry, opened.session_id)
    for name, line in list(LINES.items())[1:]:
        given = Given(text=line * (MB // 2))
        added = await registry.add_context(session.session_id, given, Options(name.replace("-", "_")))
        assert isinstance(added.context, ContextReport)
        assert (added.context.held, added.context.encodings) == ("spooled", {"utf-8": 1})
        assert added.context.chars == len(line) * MB // 2
        assert added.context.bytes == len(line.encode("utf-8", "surrogatepass")) * MB // 2
        assert added.context.lines == MB // 2
    held = used_bytes(registry)
    assert held == len(text) + MB // 2 * (7 + 2 * 4 + 4 * 5)
    names = "context, latin_1, ucs2, ucs4"
    expected = [
        (line * 10, line * 10, count, len(line) * count)
        for line, count in zip(LINES.values(), (10 * MB, MB // 2, MB // 2, MB // 2), strict=True)
    ]
    seen = (
        f"[(t[:len(l) * 10], t[-len(l) * 10:], t.count(l), len(t)) for t, l in zip(({names}), {[*LINES.values()]!r})]"
    )
    same = f"{seen} == {expected!r}, {{type(t) for t in ({names})}} == {{str}}"
    assert (await session.ok(same)).result == "(True, True)"
    await session.ok("x = ucs4; y = [context, latin_1]; del context, ucs2, ucs4")
    await settle(session)
    await session.kernel.kill("the test's wish")
    report = await session.ok(f"x is ucs4, y[0] is context, y[1] is latin_1, {same}")
    assert report.result == "(True, True, True, True, True)"
    assert lost(report) == {}
    assert used_bytes(registry) == held
    await session.finalize(text="done")
    assert used_bytes(registry) == 0


async def test_a_text_that_finds_no_room_on_disk_is_refused_by_its_numbers(tmp_path: Path) -> None:
    """And decoded into memory where that has room for it."""
    spool = Spool(tmp_path, 9 * MB)
    room = Room(12 * MB, 4 * MB, 1 << 30)
    payload = inline_payload("x" * (10 * MB), "text", room, spool)
    assert (payload.held, payload.descriptor, len(payload.data or b"")) == ("memory", None, 10 * MB)
    with pytest.raises(ContextTooLarge, match=r"RLM_SPOOL_GB allows 9,437,184"):
        inline_payload("x" * (13 * MB), "text", room, spool)
    assert spool.used_bytes == 0


async def test_a_kernel_that_cannot_map_texts_decodes_what_lies_there(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of the same files; it still knows the bytes that the texts have as their client sent them."""
    opened = await registry.init_context(context_text="short", context_paths=None, limits=AMPLE)
    session = SessionDriver(registry, opened.session_id)
    in_memory: list[int] = []

    def as_memory(descriptor: int) -> bool:
        in_memory.append(descriptor)
        return True

    monkeypatch.setattr(inline, "lies_in_memory", as_memory)
    for name, line in LINES.items():
        added = await registry.add_context(
            session.session_id, Given(text=line * 300_000), Options(f"{name.replace('-', '_')}_text")
        )
        assert isinstance(added.context, ContextReport)
        assert added.context.held == "memory"
    assert len(in_memory) == len(LINES), "a text lay in no file"
    names = "ascii_text, latin_1_text, ucs2_text, ucs4_text"
    same = f"[t == line * 300_000 for t, line in zip(({names}), {[*LINES.values()]!r})]"
    assert (await session.ok(same)).result == "[True, True, True, True]"
    ends = {name: len(line.encode("utf-8", "surrogatepass")) * 300_000 for name, line in LINES.items()}
    assert (await session.ok(f"[lines(-1, doc=name).bytes[1] for name in ({names!r}).split(', ')]")).result == repr(
        [*ends.values()]
    )
