"""Kernels that a session loses, and what its replies then say."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.session.reports import StepReport
from rlm_kernel_mcp.session.snapshots.taking import SnapshotTaker
from rlm_kernel_mcp.store.paths import snapshot_files
from tests.sessions import WAIT_S, SessionDriver

OWN: Final = {"context", "documents", "scratch"}
"""The names that every fresh kernel has."""


def snapshots(session: SessionDriver) -> SnapshotTaker:
    """The host's side of a session's snapshots."""
    return session.session.kernel.recovery.snapshots


def files(session: SessionDriver) -> list[Path]:
    """The files in which a session's snapshots may lie."""
    return snapshot_files(session.registry.settings.state_dir, session.session_id)


def values_file(session: SessionDriver) -> Path:
    """The file that holds the values now."""
    first, second, index, _ = files(session)
    return (first, second)[json.loads(index.read_text())["file"]]


async def settle(session: SessionDriver) -> None:
    """Wait until the snapshot of the last step is in its file, or given up."""
    async with asyncio.timeout(WAIT_S):
        await snapshots(session).settle()


async def lose_kernel(session: SessionDriver, *, settled: bool = True) -> None:
    """SIGKILL the session's kernel; if `settled`, when its snapshot is in its file."""
    if settled:
        await settle(session)
    kernel = session.kernel
    kernel.process.send_signal(signal.SIGKILL)
    async with asyncio.timeout(WAIT_S):
        await kernel.dead


def lost(report: StepReport) -> dict[str, str]:
    """Name to reason."""
    assert report.lost is not None, report
    return dict(report.lost.names)


def restored(report: StepReport) -> set[str]:
    assert report.lost is not None, report
    return set(report.lost.restored)
