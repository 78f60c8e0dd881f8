"""What the tests of a session share: a registry whose kernels are not processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fake_kernel import Fakes, fake_registry


@pytest.fixture
async def fakes(tmp_path: Path) -> AsyncIterator[Fakes]:
    """With as many places as a server has by default."""
    async with fake_registry(tmp_path) as opened:
        yield opened


@pytest.fixture
async def one_place(tmp_path: Path) -> AsyncIterator[Fakes]:
    """With one place."""
    async with fake_registry(tmp_path, RLM_MAX_SESSIONS="1") as opened:
        yield opened
