"""A file that is written to while its kernel loads it is read again as a copy: the session opens all the same."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.kernels import context_loading
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import ContextReport
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry

pytestmark = pytest.mark.anyio

LINE: Final = "a line of a log\n"
TEXT: Final = LINE * 200_000
POLICY: Final = {"context": {"in_memory_mb": 1}, "pool": {"spare_kernels": 0}}


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    (tmp_path / "data").mkdir()
    async with open_registry(tmp_path / "state", policy=POLICY, RLM_CONTEXT_ROOTS=str(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path, registry: Registry) -> Path:
    path = tmp_path / "data" / "log.txt"
    path.write_text(TEXT)
    return path


def cut_off(path: Path) -> None:
    os.truncate(path, 3 * len(LINE))


def written_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.write("größe".encode())


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, path: Path, change: Callable[[Path], None], *, name: str, kill: bool
) -> None:
    """Change the file when a context of this name is first sent to a kernel; `kill`: which ends by that."""
    ask, once = context_loading._ask_to_load, [True]

    async def ask_after_change(kernel: Kernel, request: Any, buffers: Any, descriptor: int | None) -> Any:
        if request["name"] == name and once:
            once.clear()
            change(path)
            if kill:
                kernel.process.kill()
                await kernel.dead
        return await ask(kernel, request, buffers, descriptor)

    monkeypatch.setattr(context_loading, "_ask_to_load", ask_after_change)


@pytest.mark.parametrize("kill", [False, True], ids=["the kernel says so", "the kernel ends"])
@pytest.mark.parametrize("change", [cut_off, written_over])
async def test_the_first_context_is_what_its_file_is_then(
    registry: Registry, path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], kill: bool
) -> None:
    """Whatever the kernel made of the one that was read first."""
    meanwhile(monkeypatch, path, change, name="context", kill=kill)
    opened = await registry.init_context(context_text=None, context_paths=[str(path)], limits=AMPLE)
    assert isinstance(opened.context, ContextReport)
    text = path.read_text()
    assert (opened.context.chars, opened.context.lines) == (len(text), text.count("\n"))
    session = SessionDriver(registry, opened.session_id)
    assert (await session.ok("len(context), context[:5], context[-5:]")).result == repr(
        (len(text), text[:5], text[-5:])
    )


@pytest.mark.parametrize("kill", [False, True], ids=["the kernel says so", "the kernel ends"])
@pytest.mark.parametrize("change", [cut_off, written_over])
async def test_an_added_context_is_too(
    registry: Registry, path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], kill: bool
) -> None:
    """Also where the session's kernel has to be replaced for it."""
    opened = await registry.init_context(context_text="first", context_paths=None, limits=AMPLE)
    meanwhile(monkeypatch, path, change, name="more", kill=kill)
    given, options = Given(paths=(str(path),)), Options("more", wait_ms=int(WAIT_S * 1_000))
    added = await registry.add_context(opened.session_id, given, options)
    assert isinstance(added.context, ContextReport)
    text = path.read_text()
    assert added.context.chars == len(text)
    session = SessionDriver(registry, opened.session_id)
    report = await session.run("context, len(more), more[:5], more[-5:]")
    assert report.result == repr(("first", len(text), text[:5], text[-5:]))
