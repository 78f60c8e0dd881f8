"""What the collector of garbage goes through in a server."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from rlm_kernel_mcp.server import app
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.settings import Settings, load_settings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("opens", "gone_through"), [("_open_for_good", False), ("open_registry", True)])
async def test_no_collection_goes_through_what_a_server_begins_with(
    monkeypatch: pytest.MonkeyPatch, opens: str, gone_through: bool
) -> None:
    """Else a kernel's messages of small items bring it about, and every session waits; the control is without it."""
    opened = object()

    class Registry:
        @staticmethod
        async def open(settings: Settings, slots: KernelSlots, feeds: object) -> object:
            del settings, slots, feeds
            return opened

    monkeypatch.setattr("rlm_kernel_mcp.session.registry.Registry", Registry)
    gc.unfreeze()  # what the suite itself began with (`tests/conftest.py`)
    before = len(gc.get_objects())
    try:
        assert await getattr(app, opens)(load_settings(Path.cwd(), {})) is opened
        assert (len(gc.get_objects()) > before // 2) is gone_through
    finally:
        gc.freeze()
