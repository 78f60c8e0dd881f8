"""Kernels are stopped where they are not needed, or not all can be had, and come back on use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import InvalidInput, SessionBusy
from rlm_kernel_mcp.session.registry import Registry
from tests.losses import OWN, lost, restored
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def two_places(tmp_path: Path) -> AsyncIterator[Registry]:
    """A registry in which two sessions may have a kernel."""
    async with open_registry(tmp_path, RLM_MAX_SESSIONS="2") as opened:
        yield opened


def with_kernel(*sessions: SessionDriver) -> list[bool]:
    return [session.session.has_kernel for session in sessions]


async def until_stopped(session: SessionDriver) -> None:
    async with asyncio.timeout(WAIT_S):
        await session.kernel.dead
    await until(lambda: not session.session.kernel.changing)


async def test_an_idle_session_s_kernel_is_stopped_and_comes_back_on_use(tmp_path: Path) -> None:
    """After RLM_IDLE_TIMEOUT_S; the values are there, and the reply says why they had to come back."""
    async with open_registry(tmp_path, RLM_IDLE_TIMEOUT_S="1") as registry:
        session = await SessionDriver.open(registry)
        await session.ok("x = [1]")
        process = session.kernel.process
        await until_stopped(session)
        assert process.returncode is not None
        (row,) = (await registry.list_sessions()).rows
        assert row.status == "idle"
        await registry._writer.settled(session.session_id)
        record = registry.store.session(session.session_id)
        assert record is not None
        assert (record.kernel_pid, record.connection_file) == (0, "")
        report = await session.ok("x")
        assert report.result == "[1]"
        assert report.lost is not None
        assert report.lost.reason == "the session was idle for more than 1 s (RLM_IDLE_TIMEOUT_S)"
        assert (lost(report), restored(report)) == ({}, {"x"} | OWN)


@pytest.mark.slow
async def test_a_session_whose_step_runs_is_not_idle(tmp_path: Path) -> None:
    """However long it runs without anybody asking."""
    async with open_registry(tmp_path, RLM_IDLE_TIMEOUT_S="1") as registry:
        session = await SessionDriver.open(registry)
        begun = await session.begin("import time\ntime.sleep(2.5)\n'done'")
        report = await session.end_of(begun.step_index)
        assert (report.status, report.result, report.lost) == ("ok", "'done'", None)


async def test_a_variable_of_a_stopped_session_can_be_read(tmp_path: Path) -> None:
    """That brings its kernel back too; the next step tells."""
    async with open_registry(tmp_path, RLM_IDLE_TIMEOUT_S="1") as registry:
        session = await SessionDriver.open(registry)
        await session.ok("x = [1]")
        await until_stopped(session)
        assert await session.value("x") == [1]
        assert (await session.ok("2")).lost is not None


async def test_the_session_that_was_idle_longest_gives_its_place(two_places: Registry) -> None:
    """And gets another when it is used again."""
    first, second = await SessionDriver.open(two_places), await SessionDriver.open(two_places)
    await first.ok("x = 'first'")
    await second.ok("x = 'second'")
    third = await SessionDriver.open(two_places)
    assert with_kernel(first, second, third) == [False, True, True]
    report = await first.ok("x")
    assert report.result == "'first'"
    assert report.lost is not None
    assert report.lost.reason == "the server needed room for another session (RLM_MAX_SESSIONS)"
    assert with_kernel(first, second, third) == [True, False, True]
    assert await second.value("x") == "second"
    assert with_kernel(first, second, third) == [True, True, False]


async def test_a_running_session_keeps_its_place(two_places: Registry) -> None:
    """When all of them run, the refusal names the limit and what to do."""
    first, second = await SessionDriver.open(two_places), await SessionDriver.open(two_places)
    idle = await SessionDriver.open(two_places)
    await first.begin("while True: pass")
    await second.begin("while True: pass")
    with pytest.raises(SessionBusy, match="All 2 sessions that may have a kernel are running a step"):
        await SessionDriver.open(two_places)
    with pytest.raises(SessionBusy, match="RLM_MAX_SESSIONS"):
        await idle.run("1")
    with pytest.raises(SessionBusy):
        await idle.session.get_var("context", 0, 10)
    assert idle.session.status == "idle"  # nothing of it is dead: it waits for a place
    await first.interrupt()
    report = await idle.ok("2")
    assert (report.result, report.step_index) == ("2", 1)
    assert (await second.interrupt()).status == "interrupted"


async def test_a_killed_kernel_s_place_is_its_session_s(two_places: Registry) -> None:
    """While a fresh one is made nobody else takes it."""
    first, second = await SessionDriver.open(two_places), await SessionDriver.open(two_places)
    await second.begin("while True: pass")
    await first.begin("print('begun', flush=True)\nwhile True: pass")
    await first.until_printed("begun\n")  # a kernel that is killed while it is given its channel is another case
    first.kernel.process.kill()
    report = await first.end_of(1)
    assert report.status == "kernel_died"
    assert (await first.ok("context")).result == "'some text'"
    await second.interrupt()


@pytest.mark.slow
async def test_sessions_that_are_opened_at_once_never_have_more_kernels_than_places(two_places: Registry) -> None:
    """Eight at once, each with a step; each keeps what it made."""
    most = 0

    async def open_one(number: int) -> SessionDriver:
        nonlocal most
        session = await SessionDriver.open(two_places, f"context {number}")
        most = max(most, sum(found.has_kernel for found in two_places._sessions.values()))
        return session

    async with asyncio.timeout(WAIT_S):
        sessions = await asyncio.gather(*(open_one(number) for number in range(8)))
        assert most <= 2
        for number, session in enumerate(sessions):
            report = await session.ok(f"x = {number}\ncontext")
            assert report.result == f"'context {number}'"
        for number, session in enumerate(sessions):
            assert (await session.ok("x")).result == str(number)
            assert sum(found.has_kernel for found in two_places._sessions.values()) <= 2


async def test_finalizing_frees_the_place(two_places: Registry) -> None:
    """At once, and for whoever comes."""
    sessions = [await SessionDriver.open(two_places), await SessionDriver.open(two_places)]
    await sessions[0].begin("while True: pass")
    await sessions[1].finalize(text="done")
    third = await SessionDriver.open(two_places)
    assert (await third.ok("1")).result == "1"
    await sessions[0].interrupt()


async def test_a_context_that_cannot_be_loaded_takes_no_place(two_places: Registry) -> None:
    """Nor does a client that goes away while its session is opened."""
    for _ in range(3):
        with pytest.raises(InvalidInput):
            await two_places.init_context(context_text=None, context_paths=[], limits=AMPLE)
    for _ in range(3):
        opening = asyncio.create_task(SessionDriver.open(two_places))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait({opening})
    first, second = await SessionDriver.open(two_places), await SessionDriver.open(two_places)
    assert with_kernel(first, second) == [True, True]
