"""Spans of real sessions over kernels without processes: whatever becomes of a step, its span has an end."""

from __future__ import annotations

import asyncio

import pytest

from rlm_kernel_mcp.telemetry.spans import Request
from tests.fake_kernel import DIES, FOREVER, Fakes
from tests.sessions import WAIT_S, until
from tests.unit.telemetry.recorded import InMemory, attributes_of, is_below

pytestmark = pytest.mark.anyio


@pytest.fixture
def memory(fakes: Fakes) -> InMemory:
    """All spans of the registry."""
    return InMemory(spans=fakes.registry.spans)


async def test_a_session_from_its_opening_to_its_answer_is_one_tree(fakes: Fakes, memory: InMemory) -> None:
    """With the kernel that died in its second step, and the one that took its place there."""
    session, _ = await fakes.open("the context")
    await session.ok("x = len(context)")
    assert (await session.run(DIES)).status == "kernel_died"
    await session.finalize(text="eleven")
    first, second = memory.named("rlm.step")
    restore, whole = memory.one("rlm.restore"), memory.one("rlm.session")
    assert (is_below(first, whole), is_below(second, whole), is_below(restore, second)) == (True, True, True)
    assert [attributes_of(step)["rlm.step.status"] for step in (first, second)] == ["ok", "kernel_died"]
    assert attributes_of(restore)["rlm.restore.restored"] == 4
    assert {**attributes_of(whole), "rlm.session.runtime_ms": 0} == {
        "gen_ai.conversation.id": session.session_id,
        "rlm.session.reopened": False,
        "rlm.session.finish_reason": "completed",
        "rlm.session.steps": 2,
        "rlm.session.runtime_ms": 0,
        "rlm.session.chars": attributes_of(whole)["rlm.session.chars"],
    }


async def test_a_restore_between_two_steps_is_part_of_the_step_that_needs_it(fakes: Fakes, memory: InMemory) -> None:
    session, kernel = await fakes.open()
    await session.ok("x = 1")
    kernel.process.end(3)
    await session.ok("x")
    assert is_below(memory.one("rlm.restore"), memory.named("rlm.step")[1])


async def test_a_step_whose_call_is_cancelled_goes_on_and_its_span_with_it(fakes: Fakes, memory: InMemory) -> None:
    """The call's own span ends with the call."""
    session, kernel = await fakes.open()

    async def call() -> None:
        with fakes.registry.spans.called("rlm_run_repl", Request()):
            await session.run(FOREVER)

    calling = asyncio.create_task(call())
    await session_runs(session.session_id, fakes)
    calling.cancel()
    await asyncio.wait({calling})
    assert attributes_of(memory.one("tools/call rlm_run_repl"))["error.type"] == "cancelled"
    assert memory.named("rlm.step") == []
    await session.interrupt()
    step = memory.one("rlm.step")
    assert (attributes_of(step)["rlm.step.status"], kernel.heard.count("SIGINT")) == ("interrupted", 1)
    called = memory.one("tools/call rlm_run_repl").context
    assert called is not None
    assert [link.context.span_id for link in step.links] == [called.span_id]


async def session_runs(session_id: str, fakes: Fakes) -> None:
    """Return when a step of it has begun."""
    await until(lambda: fakes.registry.handles.sessions[session_id].running)


async def test_the_server_s_end_in_a_step_leaves_no_span_open(fakes: Fakes, memory: InMemory) -> None:
    """That step's end, and the session's, are told before the last ones are sent."""
    session, kernel = await fakes.open()
    kernel.deaf = {"SIGINT"}
    await session.begin(FOREVER)
    async with asyncio.timeout(WAIT_S):
        await fakes.registry.close()
    step, whole = memory.one("rlm.step"), memory.one("rlm.session")
    assert is_below(step, whole)
    assert attributes_of(step)["rlm.step.status"] in ("kernel_died", "unknown")


async def test_a_session_that_is_laid_down_and_used_again_has_two_spans(fakes: Fakes, memory: InMemory) -> None:
    """Each is of the time in which this process had it."""
    session, _ = await fakes.open()
    await session.ok("x = 1")
    await fakes.registry.handles.hand_over(session.session_id, "another process has it")
    assert (await session.ok("x")).result == "1"
    await session.finalize(text="one")
    assert [attributes_of(one)["rlm.session.reopened"] for one in memory.named("rlm.session")] == [False, True]


async def test_without_spans_a_session_has_nothing_of_them(fakes: Fakes) -> None:
    session, _ = await fakes.open()
    await session.ok("x = 1")
    assert session.session.journal.telling._spans is None
    assert session.session.kernel.recovery.spans is None
    assert len(fakes.registry.spans._of) == 0
