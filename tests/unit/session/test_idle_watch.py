"""The look at each session once a second."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rlm_kernel_mcp.session import idle_watch
from rlm_kernel_mcp.session.session import Session
from tests.fake_kernel import FOREVER, Fakes
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
    monkeypatch.setattr(idle_watch, "watch", lambda session, idle_timeout_s: session.watch_idle(idle_timeout_s))
    sessions = {look: Looked(look) for look in ("never ends", "fails", "ends")}
    watching = asyncio.create_task(idle_watch.watch_all(cast(dict[str, Session], sessions), 60, lambda _: None))
    async with asyncio.timeout(WAIT_S):
        await sessions["ends"].often.wait()
    watching.cancel()
    await asyncio.wait({watching})
    assert sessions["never ends"].looks == 1
    assert sessions["fails"].looks > 1
    assert "the watch over an idle session failed" in caplog.text


async def test_a_session_that_was_looked_at_last_is_gone_once_nobody_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its answer of up to 64 MB, and not when another session is looked at."""
    monkeypatch.setattr(idle_watch, "IDLE_CHECK_S", 0.001)
    monkeypatch.setattr(idle_watch, "watch", lambda session, idle_timeout_s: session.watch_idle(idle_timeout_s))
    only = Looked("ends")
    sessions, gone, often = {"only": only}, asyncio.Event(), only.often
    weakref.finalize(only, gone.set)
    del only
    watching = asyncio.create_task(idle_watch.watch_all(cast(dict[str, Session], sessions), 60, lambda _: None))
    gc.collect()
    gc.disable()  # reference counts alone
    try:
        async with asyncio.timeout(WAIT_S):
            await often.wait()
            sessions.clear()
            await gone.wait()
    finally:
        gc.enable()
        watching.cancel()
        await asyncio.wait({watching})


class Unused:
    """A session that no call has used for a while, in whose kernel somebody seems to be at a console."""

    finalized = False
    account = SimpleNamespace(left=SimpleNamespace(runtime_left_ms=1_000))

    def __init__(self, unused_s: float, console_s: float) -> None:
        self.used_at_s = time.monotonic() - unused_s
        client = SimpleNamespace(console_within=lambda seconds: console_s < seconds)
        self.idle_kernel = SimpleNamespace(client=client)
        limits = SimpleNamespace(threads=10)
        recovery = SimpleNamespace(policy=SimpleNamespace(limits=limits))
        self.kernel = SimpleNamespace(recovery=recovery, idle_cpu_ms=lambda: 0)
        self.stopped = False

    async def stop_kernel(self, reason: str, settle_s: float) -> bool:
        self.stopped = "was idle" in reason and settle_s > 0
        return True


@pytest.mark.parametrize(
    ("unused_s", "console_s", "stopped"),
    [(50, 999, False), (70, 999, True), (70, 1, False), (12 * 3600 + 50, 1, False), (12 * 3600 + 70, 1, True)],
)
async def test_cells_of_a_console_hold_the_idle_stop_off_and_not_for_ever(
    unused_s: float, console_s: float, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code in the kernel can make them up, one after the other."""
    monkeypatch.setattr(idle_watch, "end_for_its_threads", lambda kernel, limit: False)
    session: Any = Unused(unused_s, console_s)
    await idle_watch.watch(session, 60)
    assert session.stopped is stopped


class Clock:
    """In place of the module `time`: it is as late as it is set to."""

    def __init__(self) -> None:
        self.now_s = time.monotonic()

    def monotonic(self) -> float:
        return self.now_s


async def test_an_idle_session_s_kernel_is_stopped_after_the_idle_time_and_comes_back_on_use(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a second before, and with its values kept; a step that runs is not idle."""
    clock = Clock()
    monkeypatch.setattr(idle_watch, "time", clock)
    (session, kernel), (busy, _) = await fakes.open(), await fakes.open()
    await session.ok("x = 1")
    await busy.begin(FOREVER)
    clock.now_s = session.session.used_at_s + 60
    await idle_watch.watch(session.session, 60)
    assert kernel.process.poll() is None
    clock.now_s += 1
    for one in (session, busy):
        await idle_watch.watch(one.session, 60)
    assert kernel.process.poll() == -9
    assert (session.session.has_kernel, busy.session.has_kernel) == (False, True)
    assert await session.value("x") == 1


async def test_what_a_kernel_works_after_its_step_is_charged_and_ends_it(fakes: Fakes) -> None:
    """Once it has used up the session's runtime, measured from outside."""
    session, kernel = await fakes.open()
    await session.ok("x = 1")
    await session.session.kernel.recovery.snapshots.settle()
    kernel.process.cpu += 2_000
    await idle_watch.watch(session.session, 60)
    assert kernel.process.poll() is None
    kernel.process.cpu += 3_600_000
    await idle_watch.watch(session.session, 60)
    assert kernel.process.poll() == -9
    assert session.session.status == "stopped"
    assert await session.value("x") == 1
