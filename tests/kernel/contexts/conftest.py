"""A server's loaders, a registry that maps what is large, and a directory to load from: one of each a worker."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.context.by_loader import load
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.loader.loaders import Loaders
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import resolve_sources
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import SessionSummary
from tests.kernel.on_disk import directory_on_disk
from tests.sessions import WAIT_S, lent, open_registry, until

DECODED: Final = Room(1 << 30)
MAPPED: Final = Room(1 << 20, 0, 1 << 40)
SMALL: Final = {
    "limits": {"memory_mb": 128},
    "context": {"in_memory_mb": 1, "mapped_max_gb": 1},
    "snapshots": {"name_mb": 1},
    "pool": {"spare_kernels": 0},
}
"""128 MB of memory for a session, of which a context has 1, or 76 if it has to be decoded."""
Load = Callable[..., Payload]


@pytest.fixture(scope="session")
def server_loaders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaders]:
    """Of a server in a thread of its own, that has no kernel: each loading is a process of its own anyway."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    opened = open_registry(tmp_path_factory.mktemp("state"), policy={"pool": {"spare_kernels": 0}})
    try:
        registry = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(WAIT_S)
        loaders = registry._shared.loaders
        assert loaders is not None
        yield loaders
        asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(WAIT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def loaders(server_loaders: Loaders) -> Iterator[Loaders]:
    """After each test nothing of it is on disk any more."""
    yield server_loaders
    assert server_loaders.spool.used_bytes == 0


@pytest.fixture(scope="session")
def roots() -> Iterator[Path]:
    """What the worker's registry may load from."""
    with directory_on_disk() as made:
        yield made


@pytest.fixture
def directory(roots: Path) -> Iterator[Path]:
    """A directory of the test's own to load from."""
    with tempfile.TemporaryDirectory(dir=roots) as made:
        yield Path(made)


@pytest.fixture(scope="session")
async def workers_mapping_registry(tmp_path_factory: pytest.TempPathFactory, roots: Path) -> AsyncIterator[Registry]:
    """A registry that maps what has more than a megabyte."""
    async with open_registry(tmp_path_factory.mktemp("state"), policy=SMALL, RLM_CONTEXT_ROOTS=str(roots)) as opened:
        yield opened


@pytest.fixture
async def mapping_registry(workers_mapping_registry: Registry) -> AsyncIterator[Registry]:
    """The worker's, for one test; after it nothing of its sessions is on disk any more."""
    async with lent(workers_mapping_registry) as mine:
        yield mine
    loaders = workers_mapping_registry._shared.loaders
    assert loaders is not None
    spool = loaders.spool
    await until(lambda: spool.used_bytes == 0)  # a thread that hashes a context lets it go when it next looks up


@pytest.fixture
def read(loaders: Loaders, directory: Path) -> Load:
    """Load paths below the directory; `limits`: of the loaders, to be other than they are."""

    def read(*paths: str, room: Room = DECODED, **limits: Any) -> Payload:
        sources = resolve_sources(paths, roots=Roots.named(directory), working_dir=directory, max_bytes=1 << 30)
        payload = load(sources, room, replace(loaders, **limits))
        assert payload is not None
        return payload

    return read


async def row_of(registry: Registry, session_id: str) -> SessionSummary:
    """A session's row in the list, in which others of the worker's registry stand too."""
    rows = (await registry.list_sessions(state="all")).rows
    (row,) = (row for row in rows if row.session_id == session_id)
    return row


def held_bytes(payload: Payload, size: int | None = None) -> bytes:
    """What a kernel would be given."""
    assert payload.descriptor is not None
    return os.pread(payload.descriptor, (payload.byte_count if size is None else size) + 1, 0)
