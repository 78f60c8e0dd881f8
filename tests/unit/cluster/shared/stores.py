"""Stores for tests, and what is in one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.protocol import Frame, SharedStore, no_faults

SESSION = "s_abcdefgh"


@asynccontextmanager
async def opened(
    where: Path | str, faults: Callable[[str], None] = no_faults, within_s: float = 60.0
) -> AsyncIterator[SharedStore]:
    store = open_store(str(where), faults=faults, within_s=within_s)
    try:
        yield store
    finally:
        await store.close()


def frame(key: str, body: bytes | None, kind: int = 1) -> Frame:
    return Frame(kind, key, body)


async def read(store: SharedStore, epoch: int, session_id: str = SESSION) -> dict[str, bytes | None]:
    return {one.key: one.body async for one in store.read(session_id, epoch)}


async def taken_over(store: SharedStore, epoch: int, session_id: str = SESSION) -> dict[str, bytes | None]:
    """What whoever claims an epoch finds."""
    await store.claim(session_id, epoch, "another")
    return await read(store, epoch, session_id)


def objects_below(address: str) -> int:
    """How many objects there are."""
    import fsspec

    return len(fsspec.filesystem("memory").find(address.removeprefix("memory://")))
