"""The registry is opened in the background, and what that waits for holds up nobody's end."""

from __future__ import annotations

import asyncio
import importlib
import threading
from pathlib import Path

import pytest

from rlm_kernel_mcp.server.mcp_server import LazyRegistry, open_registry
from rlm_kernel_mcp.settings import load_settings
from tests.sessions import WAIT_S, until


def test_a_server_s_end_does_not_wait_for_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of Jupyter takes seconds on a loaded machine, and a client kills what does not end in two."""
    begun, wanted, ended = threading.Event(), threading.Event(), threading.Event()

    def slow_import(_name: str) -> None:
        begun.set()
        wanted.wait(WAIT_S)
        ended.set()

    async def begin_and_end() -> None:
        monkeypatch.setattr(importlib, "import_module", slow_import)
        registry = LazyRegistry(lambda: open_registry(load_settings(Path.cwd(), {})))
        registry.warm()
        await until(begun.is_set)
        await registry.close()

    asyncio.run(begin_and_end())
    assert not ended.is_set()
    wanted.set()


def test_what_an_import_raises_is_raised_where_the_registry_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that lacks a part of Jupyter is told to whoever calls."""

    def no_import(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", no_import)
    with pytest.raises(ImportError, match=r"session\.registry"):
        asyncio.run(LazyRegistry(lambda: open_registry(load_settings(Path.cwd(), {}))).get())
