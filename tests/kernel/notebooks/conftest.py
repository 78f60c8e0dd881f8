"""A session's notebook in a file, and its run in a kernel as another Jupyter client starts one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.notebook.running.rerun import CellRun, Rerun
from rlm_kernel_mcp.notebook.writing.record import notebook_of, text_of
from rlm_kernel_mcp.settings import load_settings
from tests.sessions import WAIT_S, SessionDriver
from tests.unit.notebook.schema import validate


@pytest.fixture(autouse=True)
def runtime(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where run directories are made, and below which nothing may be read unless a test says so."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_dir))
    monkeypatch.delenv("RLM_CONTEXT_ROOTS", raising=False)


async def notebook_in(path: Path, session: SessionDriver) -> dict[str, Any]:
    """Write a session's notebook there; returns it."""
    await session.trace()  # until all of it is in the store
    made, damaged = await asyncio.to_thread(notebook_of, session.registry.store, session.session_id)
    assert damaged == 0
    path.write_text("".join(text_of(made)), encoding="ascii")
    found: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    validate(found)
    return found


async def again(path: Path, root: Path) -> list[CellRun]:
    """Run a notebook again, with the sources below a directory."""
    settings = load_settings(root, {"HOME": str(root), "RLM_CONTEXT_ROOTS": str(root)})
    rerun = Rerun(path, settings, str(root), WAIT_S)
    async with asyncio.timeout(2 * WAIT_S):
        return await rerun.run(lambda one: None)


def differing(runs: list[CellRun]) -> list[tuple[str, Any]]:
    """Cells that say something else though they may not, and what they say."""
    return [(one.label, one.said) for one in runs if one.problem or (one.differs and not one.why)]
