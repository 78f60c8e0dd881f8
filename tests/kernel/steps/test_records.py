"""What is written down is what was told, in order, at any size; what nobody heard is told to who asks next."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import weakref
from typing import Any

import pytest

from rlm_kernel_mcp.errors import SessionBusy, SessionFinalized
from rlm_kernel_mcp.session import handles
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.store import writer as store_writer
from rlm_kernel_mcp.store.store import SessionLock, SessionRecord, Store
from tests.losses import lose_kernel, lost, settle
from tests.sessions import WAIT_S, SessionDriver, until

pytestmark = pytest.mark.anyio


async def until_idle(session: SessionDriver) -> None:
    """Wait until no step runs, without asking for its report."""
    await until(lambda: not session.session.running)


async def test_a_refused_second_step_names_the_running_one_and_its_age(session: SessionDriver) -> None:
    """And says what to do instead; it counts for nothing."""
    begun = await session.begin("while True: pass")
    with pytest.raises(SessionBusy, match=rf"Step {begun.step_index} of session {session.session_id}") as refused:
        await session.run("1")
    assert "has been running for" in refused.value.message
    assert " ms" in refused.value.message
    assert f"rlm_await_step with step_index={begun.step_index}" in refused.value.next_step
    await session.interrupt()
    assert (await session.ok("1")).step_index == begun.step_index + 1


async def test_every_rung_of_the_ladder_is_an_event(session: SessionDriver) -> None:
    """SIGINT, SIGINT, SIGKILL, a fresh kernel: each stands in the trace, between the step's row and the next."""
    await session.ok("x = 1")
    await settle(session)
    endless = "import collections, itertools\ncollections.deque(itertools.repeat(0), maxlen=0)"
    report = await session.run(endless, timeout_ms=600)
    assert report.status == "timeout"
    assert lost(report) == {}
    events = [(event.action, event.step_index, event.summary) for event in await session.trace("summary")]
    assert [event for event in events if event[1] == 2 and event[0] != "run_repl"] == [
        ("interrupt", 2, "SIGINT to the kernel in step 2"),
        ("interrupt", 2, "SIGINT to the kernel in step 2"),
        ("interrupt", 2, "SIGKILL to the kernel in step 2"),
        (
            "restore",
            2,
            "it did not come to rest within the grace time and was killed; restored 4 names, lost 0",
        ),
    ]
    assert (await session.ok("x")).result == "1"


async def test_a_loss_that_nobody_heard_is_told_by_the_next_reply(session: SessionDriver) -> None:
    """The client had given the call up that would have told it."""
    await session.ok("x = 1\ng = (i for i in 'x')")
    await settle(session)
    call = asyncio.create_task(session.run("print('begun', flush=True)\nwhile True: pass"))
    await session.until_printed("begun")
    call.cancel()
    await asyncio.wait({call})
    await lose_kernel(session)
    await until_idle(session)
    report = await session.ok("x")
    assert report.result == "1"
    assert set(lost(report)) == {"g"}
    assert (await session.ok("2")).lost is None
    assert set(lost(await session.end_of(2))) == {"g"}


async def test_a_long_output_is_written_whole_without_holding_the_others_up(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread, before the step is told to have ended; small ones at once, where nothing has to be waited for."""
    threads: dict[int, bool] = {}
    complete = Store.complete_event

    def look(store: Store, row_id: int, **changes: Any) -> None:
        threads[len(str(changes["stdout"]))] = threading.current_thread() is threading.main_thread()
        complete(store, row_id, **changes)

    monkeypatch.setattr(Store, "complete_event", look)
    session = await SessionDriver.open(registry)
    small, large = await session.ok("print('x' * 9)"), await session.ok("print('y' * 2_999_999)")
    assert threads[3_000_000] is False
    assert large.truncated.stdout > 2_000_000
    rows = registry.store.events(session.session_id, small.step_index, large.step_index)
    assert [(row.result_status, len(row.stdout or "")) for row in rows] == [("ok", 10), ("ok", 3_000_000)]
    await session.finalize(text="done")


async def test_a_long_output_s_step_is_busy_until_it_is_written(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of an end that the record does not have; other sessions go on meanwhile."""
    session, other = await SessionDriver.open(registry), await SessionDriver.open(registry)
    writing, go_on = threading.Event(), threading.Event()
    complete = Store.complete_event

    def held_up(store: Store, row_id: int, **changes: Any) -> None:
        if len(str(changes["stdout"])) > 1_000_000:
            writing.set()
            assert go_on.wait(WAIT_S)
        complete(store, row_id, **changes)

    monkeypatch.setattr(Store, "complete_event", held_up)
    begun = await session.begin("print('y' * 2_999_999)")
    assert await asyncio.to_thread(writing.wait, WAIT_S)
    with pytest.raises(SessionBusy):
        await session.run("1")
    assert (await other.ok("1 + 1")).result == "2"
    assert session.session.status == "running"
    go_on.set()
    assert (await session.end_of(begun.step_index)).status == "ok"
    for each in (session, other):
        await each.finalize(text="done")


async def test_characters_that_a_running_step_told_are_in_the_record(session: SessionDriver) -> None:
    """A server that is killed then has not given them for nothing."""
    begun = await session.begin("print('x' * 500, flush=True)\nwhile True: pass")
    await session.until_printed("x")
    report = await session.end_of(begun.step_index, wait_ms=0)
    assert report.status == "running"
    record = session.registry.store.session(session.session_id)
    assert record is not None
    used = session.session.counters.budget_used
    assert used > 500
    assert (json.loads(record.counters)["budget_used"], record.status) == (used, "running")
    await session.interrupt()


async def test_a_session_with_its_answer_is_gone_at_once_with_all_its_texts(registry: Registry) -> None:
    """Not when the next full garbage collection comes: by then answers of 16 MB each would be hundreds of megabytes."""
    gc.collect()
    gc.disable()
    try:
        driver = await SessionDriver.open(registry)
        await driver.ok("answer = 'x' * 1_000_000")
        session = weakref.ref(driver.session)
        await driver.finalize(var="answer")
        await until(lambda: session() is None)
    finally:
        gc.enable()


async def test_a_session_opens_where_the_disk_does_not_answer_for_its_context(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for the disk has a bound, as that of every other call; the next step says what is the matter."""
    monkeypatch.setattr(store_writer, "SETTLED_S", 0.05)
    answers, put = threading.Event(), registry.store.put_context

    def put_later(session_id: str, data: bytes, name: str = "") -> None:
        assert answers.wait(WAIT_S)
        put(session_id, data, name)

    monkeypatch.setattr(registry.store, "put_context", put_later)
    try:
        async with asyncio.timeout(WAIT_S):
            session = await SessionDriver.open(registry, "a context")
            report = await session.ok("context")
        assert report.result == "'a context'"
        assert "has not answered" in (report.note or "")
    finally:
        answers.set()
    await registry._writer.settled(session.session_id)
    assert registry.store.context(session.session_id) == b"a context"


async def test_a_session_opens_where_the_disk_does_not_answer_for_its_lock(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is taken in the order of the session's writes: before its first row, and given back behind its last."""
    monkeypatch.setattr(store_writer, "SETTLED_S", 0.05)
    answers, acquire = threading.Event(), registry.store.acquire

    def acquire_later(session_id: str, *, is_new: bool = False) -> SessionLock | None:
        assert answers.wait(WAIT_S)
        return acquire(session_id, is_new=is_new)

    monkeypatch.setattr(registry.store, "acquire", acquire_later)
    try:
        async with asyncio.timeout(WAIT_S):
            session = await SessionDriver.open(registry, "a context")
            report = await session.ok("context")
        assert report.result == "'a context'"
        assert "has not answered" in (report.note or "")
        assert registry.store.holder(session.session_id) is None
    finally:
        answers.set()
    monkeypatch.undo()
    await registry._writer.settled(session.session_id)
    assert registry.store.holder(session.session_id) == os.getpid()
    await session.finalize(text="done")
    await registry._writer.settled(session.session_id)
    assert registry.store.holder(session.session_id) is None


async def test_a_record_that_the_disk_does_not_give_is_told_as_that(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was called a defect of the server."""
    session = await SessionDriver.open(registry)
    await session.finalize(text="done")
    monkeypatch.setattr(handles, "REOPEN_S", 0.05)
    answers, read = threading.Event(), registry.store.session

    def read_later(session_id: str, *, whole: bool = True) -> SessionRecord | None:
        assert answers.wait(WAIT_S)
        return read(session_id, whole=whole)

    monkeypatch.setattr(registry.store, "session", read_later)
    try:
        with pytest.raises(SessionBusy, match="the disk of the session store does not answer") as told:
            await session.run("1")
        assert "RLM_STATE_DIR" in told.value.next_step
    finally:
        answers.set()
    monkeypatch.setattr(handles, "REOPEN_S", WAIT_S)
    with pytest.raises(SessionFinalized):
        await session.run("1")
