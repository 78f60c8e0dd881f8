"""Several contexts of which some are mapped: what each takes of the room, and what comes back after a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.registry import Registry
from tests.losses import lost, settle
from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio

MB = 1 << 20


@pytest.fixture
def on_disk(directory: Path) -> Path:
    """A directory whose files are not memory."""
    return directory


@pytest.fixture
def registry(mapping_registry: Registry) -> Registry:
    """One that maps what has more than a megabyte, and keeps no larger values."""
    return mapping_registry


async def add(session: SessionDriver, name: str, exclude: tuple[str, ...] = (), **given: Any) -> ContextReport:
    """Add a context; it is there at once."""
    added = await session.registry.add_context(session.session_id, Given(**given), Options(name, exclude))
    assert isinstance(added.context, ContextReport)
    return added.context


async def test_a_mapped_context_takes_nothing_of_the_room_for_others(registry: Registry, on_disk: Path) -> None:
    """Nor does one that the client gave itself, which lies in a file of the server's own."""
    (on_disk / "large.txt").write_bytes(b"a line of a log\n" * (6 * MB))
    (on_disk / "umlauts.txt").write_bytes("ü\n".encode() * (16 * MB))
    (on_disk / "small.txt").write_bytes(b"small\n" * 1_000)
    session = await SessionDriver.open(registry, "x" * (40 * MB))
    large = await add(session, "large", paths=(str(on_disk / "large.txt"),))
    assert (large.held, large.bytes) == ("mapped", 96 * MB)
    rest = await add(session, "rest", text="y" * (37 * MB))
    assert (rest.held, rest.bytes) == ("spooled", 37 * MB)
    small = await add(session, "small", paths=(str(on_disk / "small.txt"),))
    assert small.held == "memory"
    umlauts = await add(session, "umlauts", paths=(str(on_disk / "umlauts.txt"),))
    assert umlauts.held == "spooled"
    expected = repr((40 * MB, 96 * MB, 37 * MB, 6_000, 32 * MB, "large/large.txt"))
    names = "len(context), len(large), len(rest), len(small), len(umlauts), list(documents)[1]"
    assert (await session.ok(names)).result == expected


async def test_each_mapped_context_is_a_reference_in_snapshots(registry: Registry, on_disk: Path) -> None:
    """However many there are, and whatever holds them; `del` frees none of them."""
    for name in ("a", "b"):
        (on_disk / f"{name}.txt").write_bytes(f"line of {name}\n".encode() * (MB // 4))
    session = await SessionDriver.open(registry)
    for name in ("a", "b"):
        assert (await add(session, name, paths=(str(on_disk / f"{name}.txt"),))).held == "mapped"
    await session.ok("kept = {'both': [a, b], 'first': context}; del a, b")
    await settle(session)
    await session.kernel.kill("the test's wish")
    report = await session.ok("kept['both'][0] is a, kept['both'][1] is b, a[:9], b[:9], kept['first']")
    assert report.result == "(True, True, 'line of a', 'line of b', 'some text')"
    assert lost(report) == {}


async def test_a_name_that_is_taken_leaves_no_file_behind_for_the_next_load(registry: Registry, on_disk: Path) -> None:
    """Each takes the descriptor that was sent for it."""
    for name in ("a", "b"):
        (on_disk / f"{name}.txt").write_text(f"of {name}")
    session = await SessionDriver.open(registry)
    await session.ok("a = 1")
    with pytest.raises(InvalidInput, match="'a'"):
        await add(session, "a", paths=(str(on_disk / "a.txt"),))
    await add(session, "b", paths=(str(on_disk / "b.txt"),))
    assert (await session.ok("a, b")).result == "(1, 'of b')"


async def test_what_an_added_directory_leaves_out_stays_out_after_a_loss(registry: Registry, on_disk: Path) -> None:
    """By `exclude`, and by what is hidden; each kind is counted, and the prefix is told."""
    for name in ("a.txt", "b.log", ".hidden"):
        (on_disk / name).write_text(name)
    session = await SessionDriver.open(registry)
    report = await add(session, "files", ("*.log",), paths=(str(on_disk),))
    assert (report.skipped, report.prefix) == ({"hidden": 1, "excluded": 1}, str(on_disk))
    await session.kernel.kill("the test's wish")
    assert (await session.ok("list(documents), files")).result == "(['context', 'files/a.txt'], 'a.txt')"
