"""A large context is ready before its hash is made; the hash comes, is written down, and need not be made again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.context import held as held_module
from rlm_kernel_mcp.context.loader import hashing
from rlm_kernel_mcp.context.loader.hashing import Unhashed
from rlm_kernel_mcp.context.loader.loaders import CancelCheck, Loaders
from rlm_kernel_mcp.session import finalize
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.contexts.conftest import SMALL, row_of
from tests.losses import lose_kernel, lost
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry

pytestmark = pytest.mark.anyio

MB: Final = 1 << 20
ASCII: Final = b"plain text of a line\n" * 500_000
WIDE: Final = "Gr\xfc\xdfe \u65e5\u672c\n".encode() * 600_000


@pytest.fixture(autouse=True)
def _hash_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a loader reads at all."""
    monkeypatch.setattr(held_module, "HASHED_LATER_BYTES", MB)


@pytest.fixture
def registry(mapping_registry: Registry) -> Registry:
    """One that maps what has more than a megabyte."""
    return mapping_registry


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds each hash up until it is set."""
    opened, digest = threading.Event(), Unhashed.digest

    def digest_behind_gate(self: Unhashed, loaders: Loaders, check_cancelled: CancelCheck) -> str | None:
        while not opened.wait(0.01):
            check_cancelled()
        return digest(self, loaders, check_cancelled)

    monkeypatch.setattr(hashing.Unhashed, "digest", digest_behind_gate)
    yield opened
    opened.set()


async def opened(registry: Registry, *paths: Path) -> tuple[SessionDriver, ContextReport]:
    """A session over files, and what its client is told at first."""
    names = [str(path) for path in paths]
    report = await registry.init_context(context_text=None, context_paths=names, limits=AMPLE)
    assert isinstance(report.context, ContextReport)
    return SessionDriver(registry, report.session_id), report.context


async def settle(session: SessionDriver) -> None:
    """Wait for the hashes of a session's contexts."""
    async with asyncio.timeout(WAIT_S):
        while tasks := list(session.session.contexts.contexts.hashes._tasks.values()):
            await asyncio.wait(tasks)


async def listed(session: SessionDriver) -> str | None:
    """What the list of the sessions says of one's context."""
    return (await row_of(session.registry, session.session_id)).sha256


def file_of(directory: Path, name: str, data: bytes) -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("parts", "held"), [([ASCII], "mapped"), ([ASCII, ASCII], "mapped"), ([WIDE], "spooled")])
async def test_a_large_context_is_ready_without_its_hash_which_comes(
    registry: Registry, directory: Path, gate: threading.Event, parts: list[bytes], held: str
) -> None:
    """Over its one file, over several that are laid together, and over the bytes of what is written wider."""
    paths = [file_of(directory, f"{number}.txt", part) for number, part in enumerate(parts)]
    session, told = await opened(registry, *paths)
    assert (told.held, told.sha256) == (held, None)
    gate.set()
    await settle(session)
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    first = session.session.contexts.contexts.first
    assert session.session.contexts.report(first).sha256 == digest  # type: ignore[union-attr]
    await session.session.journal.settled()
    assert await listed(session) == digest


async def test_a_small_context_has_its_hash_at_once(registry: Registry, directory: Path) -> None:
    """And neither the list nor the final answer says it once more."""
    session, told = await opened(registry, file_of(directory, "a.txt", ASCII[:1000]))
    assert told.sha256 == hashlib.sha256(ASCII[:1000]).hexdigest()
    assert await listed(session) is None
    assert (await session.finalize(text="done")).hashes == {}


async def test_a_restore_does_not_hash_what_is_the_same_file(
    registry: Registry, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system says the same of it."""
    session, _ = await opened(registry, file_of(directory, "a.txt", ASCII))
    await settle(session)
    monkeypatch.setattr(hashing.Unhashed, "digest", lambda *_: pytest.fail("it was hashed again"))
    await lose_kernel(session)
    assert lost(await session.run("1")) == {}
    assert (await session.ok("len(context)")).result == str(len(ASCII))


async def test_a_restore_hashes_a_file_that_only_looks_like_another(registry: Registry, directory: Path) -> None:
    """`touch` changes its times and nothing in it; a byte that is another is another text."""
    path = file_of(directory, "a.txt", ASCII)
    session, _ = await opened(registry, path)
    await settle(session)
    os.utime(path, (1, 1))
    await lose_kernel(session)
    assert lost(await session.run("1")) == {}
    with path.open("r+b") as file:
        file.write(b"P")
    await lose_kernel(session)
    assert "changed" in lost(await session.run("1"))["context"]


async def test_a_kernel_that_is_lost_before_the_hash_is_there_has_its_context_again(
    registry: Registry, directory: Path, gate: threading.Event
) -> None:
    """What the file system says is enough; and of another file nobody can say that it is the same."""
    path = file_of(directory, "a.txt", ASCII)
    session, _ = await opened(registry, path)
    await lose_kernel(session)
    assert lost(await session.run("1")) == {}
    os.utime(path, (1, 1))
    await lose_kernel(session)
    assert "changed" in lost(await session.run("1"))["context"]
    gate.set()


async def test_a_file_that_is_written_to_before_its_hash_is_made_has_none(
    registry: Registry, directory: Path, gate: threading.Event
) -> None:
    """The hash would be of a text that was never opened."""
    path = file_of(directory, "a.txt", ASCII)
    session, _ = await opened(registry, path)
    with path.open("r+b") as file:
        file.write(b"P")
    gate.set()
    await settle(session)
    assert await listed(session) is None


async def test_a_file_that_is_cut_off_before_its_hash_is_made_has_none(
    registry: Registry, directory: Path, gate: threading.Event
) -> None:
    """It is read, and never mapped."""
    path = file_of(directory, "a.txt", ASCII)
    session, _ = await opened(registry, path)
    os.truncate(path, 10)
    gate.set()
    await settle(session)
    assert await listed(session) is None


async def test_the_record_and_the_answer_of_a_session_that_ends_have_the_hash(
    registry: Registry, directory: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end waits for it a moment, and the same call says it again."""
    monkeypatch.setattr(finalize, "HASHED_S", WAIT_S)
    session, _ = await opened(registry, file_of(directory, "a.txt", ASCII))
    ending = asyncio.create_task(session.finalize(text="done"))
    async with asyncio.timeout(WAIT_S):
        await session.kernel.dead
    gate.set()
    digest = hashlib.sha256(ASCII).hexdigest()
    assert (await ending).hashes == {"context": digest}
    assert (await session.finalize(text="done")).hashes == {"context": digest}
    assert await listed(session) == digest


async def test_a_server_that_ends_meanwhile_leaves_the_hash_to_the_next(
    tmp_path: Path, directory: Path, gate: threading.Event
) -> None:
    """Nothing of it is left over; who opens the session again has the hash made."""
    path = file_of(directory, "a.txt", ASCII)
    async with open_registry(tmp_path / "state", policy=SMALL, RLM_CONTEXT_ROOTS=str(directory)) as registry:
        session, _ = await opened(registry, path)
        session_id = session.session_id
        record = registry.store.session(session_id)
        assert record is not None
        assert (json.loads(record.context)["sha256"], len(json.loads(record.context_ref)["states"])) == (None, 64)
    gate.set()
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(directory)) as registry:
        session = SessionDriver(registry, session_id)
        assert (await session.run("len(context)")).result == str(len(ASCII))
        await settle(session)
        await session.session.journal.settled()
        assert await listed(session) == hashlib.sha256(ASCII).hexdigest()


async def test_an_added_context_is_hashed_later_too(registry: Registry, directory: Path, gate: threading.Event) -> None:
    """Each has its own."""
    session, _ = await opened(registry, file_of(directory, "a.txt", ASCII))
    path = file_of(directory, "b.txt", ASCII + b"more")
    added = await registry.add_context(session.session_id, Given(paths=(str(path),)), Options("more"))
    assert isinstance(added.context, ContextReport)
    assert added.context.sha256 is None
    gate.set()
    await settle(session)
    reports = [one.report for one in session.session.contexts.contexts.all]
    hashes = [hashlib.sha256(raw).hexdigest() for raw in (ASCII, ASCII + b"more")]
    assert [report.sha256 for report in reports if report is not None] == hashes
