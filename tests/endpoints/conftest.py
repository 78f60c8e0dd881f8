"""What the tests with an endpoint share: the client that asks it."""

from __future__ import annotations

import pytest

from tests.parts import require_openai


@pytest.fixture(autouse=True, scope="session")
def _openai() -> None:
    require_openai()
