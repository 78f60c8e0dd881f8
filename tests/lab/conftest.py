"""Homes of users with real Jupyter clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.home import Home
from tests.rights import reachable_directory


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """The test's own user's."""
    with reachable_directory() as directory:
        yield Home.make(directory / "h")


@pytest.fixture(scope="module", params=["own", "other"])
def any_home(request: pytest.FixtureRequest) -> Iterator[Home]:
    """The test's own user's, and another, ordinary one's."""
    with reachable_directory() as directory:
        yield Home.make(directory / "h", other_user=request.param == "other")
