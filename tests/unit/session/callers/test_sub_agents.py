"""Several clients of one registry: one drives a session at a time, and each has its own share of slots."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.settings import load_settings
from tests.fake_kernel import FOREVER, Fakes, fake_registry
from tests.sessions import AMPLE, WAIT_S

pytestmark = pytest.mark.anyio
FOR_LONG = int(WAIT_S * 1_000)


@pytest.fixture
async def fakes(tmp_path: Path) -> AsyncIterator[Fakes]:
    """A registry that several clients use."""
    async with fake_registry(tmp_path / "s", RLM_MAX_SESSIONS="32") as opened:
        yield opened


def caller(name: str, **variables: str) -> Caller:
    return Caller.of(name, load_settings("/", variables))


async def opened(fakes: Fakes, by: Caller) -> str:
    report = await fakes.registry.init_context(context_text="text", context_paths=None, limits=AMPLE, caller=by)
    return report.session_id


async def run(fakes: Fakes, by: Caller, session_id: str, code: str, wait_ms: int = FOR_LONG) -> Any:
    return await fakes.registry.run_repl(
        session_id, code, timeout_ms=None, wait_ms=wait_ms, max_output_chars=1_000, caller=by
    )


async def connections(fakes: Fakes, by: Caller) -> dict[str, str | None]:
    found = await fakes.registry.list_sessions(caller=by)
    return {row.session_id: row.connection for row in found.rows}


async def test_a_session_has_one_driver_at_a_time_and_others_read_meanwhile(fakes: Fakes) -> None:
    """A further step is told which one runs; variables and the trace are there for everybody."""
    parent, agent = caller("parent"), caller("agent")
    session_id = await opened(fakes, parent)
    await run(fakes, agent, session_id, "x = 5")
    assert (await run(fakes, parent, session_id, FOREVER, wait_ms=0)).status == "running"
    with pytest.raises(SessionBusy, match=rf"^Step 2 of session {session_id} has been running for") as busy:
        await run(fakes, agent, session_id, "x")
    assert "rlm_await_step with step_index=2" in busy.value.next_step
    read = await fakes.registry.get_var(session_id, "x", offset=0, limit=10, caller=agent)
    assert read.value == 5
    page = await fakes.registry.get_trace(
        session_id, from_step=None, to_step=None, detail="summary", max_output_chars=9_000, offset=0
    )
    assert [event.action for event in page.events][-2:] == ["run_repl", "run_repl"]
    assert (await fakes.registry.interrupt(session_id, agent)).status == "interrupted"
    assert (await run(fakes, agent, session_id, "x")).result == "5"


async def test_the_list_says_whose_each_session_is(fakes: Fakes, tmp_path: Path) -> None:
    """Of the one that asks, of another client that is there, of another server; of nobody when its client has left."""
    one, other = caller("one"), caller("other")
    mine, theirs = await opened(fakes, one), await opened(fakes, other)
    async with fake_registry(tmp_path / "s") as second:
        elsewhere = await opened(second, caller("far away"))
        assert await connections(fakes, one) == {mine: "this", theirs: "other", elsewhere: "other"}
        assert await connections(fakes, other) == {mine: "other", theirs: "this", elsewhere: "other"}
    assert (await connections(fakes, one))[elsewhere] is None
    other.close()
    assert await connections(fakes, one) == {mine: "this", theirs: None, elsewhere: None}
    await run(fakes, one, theirs, "1")
    await run(fakes, one, elsewhere, "1")
    assert await connections(fakes, one) == dict.fromkeys((mine, theirs, elsewhere), "this")


async def test_a_client_that_uses_another_s_session_does_not_take_it_over(fakes: Fakes) -> None:
    """As long as the other is there, it is the other's, and so is its slot."""
    parent, agent = caller("parent", RLM_MAX_SESSIONS="1"), caller("agent", RLM_MAX_SESSIONS="1")
    session_id = await opened(fakes, parent)
    await run(fakes, agent, session_id, "1")
    assert (await connections(fakes, agent))[session_id] == "other"
    await run(fakes, parent, session_id, FOREVER, wait_ms=0)
    with pytest.raises(SessionBusy, match="The one session that may have a kernel"):
        await opened(fakes, parent)
    own = await opened(fakes, agent)
    assert (await run(fakes, agent, own, "1")).status == "ok"
    await fakes.registry.interrupt(session_id, parent)


async def test_a_step_that_finds_no_slot_of_its_client_is_refused_and_is_no_step(fakes: Fakes) -> None:
    """Before it has a number, and whatever slots other clients have."""
    one, other = caller("one", RLM_MAX_SESSIONS="1"), caller("other", RLM_MAX_SESSIONS="1")
    session_id = await opened(fakes, one)
    second = await opened(fakes, one)  # for which the first has given way
    await run(fakes, one, second, FOREVER, wait_ms=0)
    await opened(fakes, other)
    with pytest.raises(SessionBusy, match="The one session that may have a kernel"):
        await run(fakes, one, session_id, "1")
    await fakes.registry.interrupt(second, one)
    assert (await run(fakes, one, session_id, "1")).step_index == 1
