"""A step whose session is ended under it says why, to who waits for it and to who reads its record."""

from __future__ import annotations

import asyncio

import pytest

from rlm_kernel_mcp.session import session as session_module
from rlm_kernel_mcp.session.reports import StepReport
from tests.fake_kernel import FOREVER, Fakes
from tests.sessions import SessionDriver, until

pytestmark = pytest.mark.anyio
WHY = "its parent's step has ended"


async def again(session: SessionDriver) -> StepReport:
    """Step 1, as it is reported to whoever asks for it later."""
    return await session.session.told.again(1, 1_000)


async def test_a_step_of_a_child_that_is_ended_was_interrupted_and_says_what_for(fakes: Fakes) -> None:
    """Its kernel is killed, which is how a child ends and no fate of its own."""
    session, _ = await fakes.open()
    await session.begin(FOREVER)
    await session.until_printed("begun")
    session.session.ended = WHY
    await session.session.close("it was ended")
    for _ in range(2):
        report = await again(session)
        assert (report.status, report.lost, report.stdout) == ("interrupted", None, "begun\n")
        assert report.stderr == f"[the session was ended: {WHY}]"
        session.session.journal.forget()  # from here on by the record


async def test_a_step_of_a_child_that_had_no_kernel_yet_says_so_too(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record must not say that the server ended, which is what it says of a step without an end."""
    monkeypatch.setattr(session_module, "SETTLE_S", 0)
    session, _ = await fakes.open()
    never = asyncio.Event()

    async def ready(stop: asyncio.Future[None]) -> None:
        del stop
        await never.wait()

    monkeypatch.setattr(session.session.kernel, "ready_for_step", ready)
    await session.begin("1")
    session.session.ended = WHY
    await session.session.close("it was ended")
    await until(lambda: session.session.journal.remembered(1) is not None)
    report = await again(session)
    assert (report.status, report.duration_ms, report.stderr) == ("interrupted", 0, f"[the session was ended: {WHY}]")


async def test_a_step_that_lost_its_kernel_says_why_also_by_its_record(fakes: Fakes) -> None:
    """How many names are gone it says too; which they are is in the event of the restore."""
    session, _ = await fakes.open()
    await session.ok("x = 1")
    await session.begin(FOREVER)
    await session.until_printed("begun")
    await session.session.close("the server ended")
    told = await session.session.told.again(2, 1_000)
    session.session.journal.forget()
    read = await session.session.told.again(2, 1_000)
    assert told.lost is not None
    assert read.lost is not None
    assert (read.status, read.lost.reason) == ("kernel_died", told.lost.reason)
    assert "the server ended" in read.lost.reason
    assert (read.lost.names, read.lost.more_lost) == ((), len(told.lost.names) + told.lost.more_lost)
