"""One place, and two sessions that want it."""

from __future__ import annotations

import asyncio

import pytest

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.wire import GET_VAR, SNAPSHOT
from tests.fake_kernel import FOREVER, Fakes
from tests.sessions import WAIT_S, SessionDriver, until

pytestmark = pytest.mark.anyio


async def test_an_idle_session_s_place_is_given_to_a_new_one_once_its_values_are_kept(one_place: Fakes) -> None:
    """A snapshot that is under way is waited for; then the kernel is ended, and comes back on use."""
    first, kernel = await one_place.open()
    kernel.large, kernel.deaf = True, {SNAPSHOT}
    await first.ok("x = 1")
    opening = asyncio.create_task(one_place.open())
    await until(lambda: SNAPSHOT in kernel.heard and first.session.changing)
    assert kernel.process.returncode is None
    kernel.answer_now()
    async with asyncio.timeout(WAIT_S):
        second, _ = await opening
    assert kernel.heard[-1] == "SIGKILL"
    assert (first.session.has_kernel, second.session.has_kernel) == (False, True)
    assert await first.value("x") == 1
    assert (first.session.has_kernel, second.session.has_kernel) == (True, False)


async def test_a_session_that_is_read_keeps_its_place(one_place: Fakes) -> None:
    """Whoever wants it waits until the reader has been answered."""
    first, kernel = await one_place.open()
    await first.ok("x = 1")
    await first.session.kernel.recovery.snapshots.settle()
    kernel.deaf = {GET_VAR}
    reading = asyncio.create_task(first.value("x"))
    await until(lambda: GET_VAR in kernel.heard)
    opening = asyncio.create_task(one_place.open())
    await until(lambda: len(one_place.registry._slots._waiting) == 1)
    for _ in range(100):  # in which a kernel is stopped, if it is
        await asyncio.sleep(0)
    assert kernel.process.returncode is None
    kernel.answer_now()
    async with asyncio.timeout(WAIT_S):
        assert await reading == 1
        await opening
    assert kernel.process.returncode == -9


async def test_a_session_that_runs_a_step_gives_its_place_to_nobody(one_place: Fakes) -> None:
    """The new one is refused at once."""
    first, kernel = await one_place.open()
    await first.begin(FOREVER)
    with pytest.raises(SessionBusy, match="RLM_MAX_SESSIONS"):
        await one_place.open()
    assert kernel.process.returncode is None
    assert (await first.interrupt()).status == "interrupted"


async def test_a_session_that_was_used_last_gives_way_last(one_place: Fakes) -> None:
    """Three sessions take turns at one place; each has its own value each time."""
    sessions: list[SessionDriver] = []
    for number in range(3):
        sessions.append((await one_place.open())[0])
        await sessions[-1].ok(f"x = {number}")
    for number, session in enumerate(sessions):
        assert (await session.ok("x")).result == str(number)
        assert sum(one.session.has_kernel for one in sessions) == 1
    assert len(one_place.kernels) == 6
