"""What the tests of callers share: the directories that their callers open are closed at their end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.settings import Settings


@pytest.fixture(autouse=True)
def every_connection_ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """At the end of its test: nobody else closes what it has open."""
    made, real = list[Caller](), Caller.of

    def noted(connection: str, settings: Settings) -> Caller:
        made.append(real(connection, settings))
        return made[-1]

    monkeypatch.setattr(Caller, "of", noted)
    yield
    for caller in made:
        caller.close()
