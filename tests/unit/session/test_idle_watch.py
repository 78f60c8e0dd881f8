"""The look at each session once a second."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from rlm_kernel_mcp.session import idle_watch
from rlm_kernel_mcp.session.session import Session
from tests.sessions import WAIT_S

pytestmark = pytest.mark.anyio


class Looked:
    """What the watch knows of a session."""

    idle_kernel = object()
    held = True

    def __init__(self, look: str) -> None:
        self._look = look
        self.often = asyncio.Event()
        self.looks = 0

    async def watch_idle(self, idle_timeout_s: int) -> None:
        self.looks += 1
        if self._look == "fails":
            raise OSError(f"after {idle_timeout_s} s")
        if self._look == "never ends":
            await asyncio.Event().wait()
        if self.looks > 3:
            self.often.set()


async def test_a_look_that_does_not_end_or_fails_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the session that it waits for is not looked at twice at once."""
    monkeypatch.setattr(idle_watch, "IDLE_CHECK_S", 0)
    sessions = {look: Looked(look) for look in ("never ends", "fails", "ends")}
    watching = asyncio.create_task(idle_watch.watch_all(cast(dict[str, Session], sessions), 60, lambda _: None))
    async with asyncio.timeout(WAIT_S):
        await sessions["ends"].often.wait()
    watching.cancel()
    await asyncio.wait({watching})
    assert sessions["never ends"].looks == 1
    assert sessions["fails"].looks > 1
    assert "the watch over an idle session failed" in caplog.text
