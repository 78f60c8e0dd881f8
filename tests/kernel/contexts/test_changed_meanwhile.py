"""A file that is written to while its kernel loads it is read again as a copy: the session opens all the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts import source
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.kernels import context_loading
from rlm_kernel_mcp.session.registry import Registry
from tests.losses import lose_kernel, lost
from tests.sessions import AMPLE, WAIT_S, SessionDriver

pytestmark = pytest.mark.anyio

LINE: Final = "a line of a log\n"
TEXT: Final = LINE * 200_000


@pytest.fixture
def registry(mapping_registry: Registry) -> Registry:
    """One that maps what has more than a megabyte."""
    return mapping_registry


@pytest.fixture
def path(directory: Path) -> Path:
    path = directory / "log.txt"
    path.write_text(TEXT)
    return path


def cut_off(path: Path) -> None:
    os.truncate(path, 3 * len(LINE))


def written_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.write("größe".encode())


def grown(path: Path) -> None:
    with path.open("a") as file:
        file.write(LINE)


def halved(path: Path) -> None:
    os.truncate(path, len(TEXT) // 2)


def untouched(path: Path) -> None:
    """It was changed before."""


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


FATES: Final = list(product([untouched, halved, grown], [untouched, cut_off, written_over, grown], [False, True]))
"""What happens before the loss, what while a fresh kernel takes the context, and whether that kernel ends then."""
FAST: Final = [(halved, untouched, True), (untouched, cut_off, False), (untouched, grown, False)]


@pytest.mark.parametrize(
    ("before", "again", "kill"),
    [pytest.param(*fate, marks=() if fate in FAST else pytest.mark.slow) for fate in FATES],
)
async def test_a_text_that_comes_back_as_another_is_told_whenever_its_file_was_changed(
    registry: Registry,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[Path], None],
    again: Callable[[Path], None],
    kill: bool,
) -> None:
    """Before the loss, while the fresh kernel takes it, and where that one ends: the text is there as it is now."""
    monkeypatch.setattr(source, "LOADER_FROM_BYTES", 1_000_000)  # who knows a file by its state, and not by its hash
    opened = await registry.init_context(context_text=None, context_paths=[str(path)], limits=AMPLE)
    assert isinstance(opened.context, ContextReport)
    assert opened.context.held == "mapped"
    session = SessionDriver(registry, opened.session_id)
    await session.ok("len(context)")
    before(path)
    await lose_kernel(session)
    meanwhile(monkeypatch, path, again, name="context", kill=kill)
    report = await session.run("1")
    text = path.read_text()
    if text == TEXT:
        assert lost(report) == {}
    else:
        assert set(lost(report)) == {"context"}
        assert f"{len(text.encode()):,}" in lost(report)["context"]
    assert (await session.ok("len(context), context[:5]")).result == repr((len(text), text[:5]))
    assert (await session.ok("1")).contexts_changed == (() if text == TEXT else ("context",))
