"""A session goes to the process that uses it, in one kernel at a time and with all that it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.session.callers.elsewhere import answered_elsewhere, driven_elsewhere
from rlm_kernel_mcp.session.reports import LossReport
from tests.fake_kernel import DIES, FOREVER, FakeKernel, Fakes, fake_registry
from tests.sessions import AMPLE, WAIT_S, until

pytestmark = pytest.mark.anyio
FOR_LONG = int(WAIT_S * 1_000)


class Asks:
    """`Elsewhere` that asks a registry of the same process."""

    def __init__(self, other: Fakes) -> None:
        self.other = other
        self.asked = 0
        self.meanwhile: Callable[[], Any] = lambda: None
        """Called when the session has been let go."""

    async def ask(self, session_id: str, holder: int) -> None:
        del holder
        self.asked += 1
        await self.other.registry.handles.hand_over(session_id, "it was moved")
        if (then := self.meanwhile()) is not None:
            await then


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[Fakes, Fakes]]:
    """Two processes with one record, each of which asks the other."""
    async with fake_registry(tmp_path / "s") as one, fake_registry(tmp_path / "s") as other:
        one.registry.handles.elsewhere, other.registry.handles.elsewhere = Asks(other), Asks(one)
        yield one, other


async def opened(fakes: Fakes) -> str:
    report = await fakes.registry.init_context(context_text="text", context_paths=None, limits=AMPLE)
    return report.session_id


async def run(fakes: Fakes, session_id: str, code: str, wait_ms: int = FOR_LONG) -> Any:
    return await fakes.registry.run_repl(session_id, code, timeout_ms=None, wait_ms=wait_ms, max_output_chars=1_000)


async def asked_for_while_values_are_kept(
    both: tuple[Fakes, Fakes],
) -> tuple[str, FakeKernel, asyncio.Future[Any]]:
    """A session of the first process, its kernel, which is keeping its values, and the step of the second one."""
    one, other = both
    session_id = await opened(one)
    (kernel,) = one.kernels
    kernel.large = True
    kernel.deaf.add("rlm_snapshot_request")
    await run(one, session_id, "x = 41")
    asked = asyncio.ensure_future(run(other, session_id, "x"))
    await until(lambda: one.registry.handles.sessions[session_id].changing)
    return session_id, kernel, asked


async def test_it_is_used_on_either_side_in_turn_and_has_one_kernel(both: tuple[Fakes, Fakes]) -> None:
    session_id = await opened(both[0])
    await run(both[0], session_id, "x = 0")
    for turn in range(1, 5):
        report = await run(both[turn % 2], session_id, "x += 1")
        assert report.lost.reason == "it was moved"
        assert report.lost.names == ()
        living = [kernel for fakes in both for kernel in fakes.kernels if kernel.process.returncode is None]
        assert [kernel.names["x"] for kernel in living] == [turn]


async def test_a_step_that_runs_keeps_it_where_it_is_and_is_named(both: tuple[Fakes, Fakes]) -> None:
    one, other = both
    session_id = await opened(one)
    assert (await run(one, session_id, FOREVER, wait_ms=0)).status == "running"
    for _ in range(2):
        with pytest.raises(SessionBusy, match=rf"^Step 1 of session {session_id} has been running for"):
            await run(other, session_id, "1")
    await one.registry.interrupt(session_id)
    assert (await run(other, session_id, "1 + 1")).result == "2"


async def test_a_person_s_cell_that_runs_keeps_it_where_it_is_and_is_named(both: tuple[Fakes, Fakes]) -> None:
    """Its code would be cut off, without a word to whoever typed it."""
    one, other = both
    session_id = await opened(one)
    (kernel,) = one.kernels
    kernel.begin_cell("input()")
    await until(lambda: kernel.client.console_busy)
    with pytest.raises(SessionBusy, match=rf"^A person's cell is running in session {session_id}") as busy:
        await run(other, session_id, "1")
    assert "Ctrl-C in that console" in busy.value.next_step
    assert kernel.process.returncode is None
    kernel.end_cell()
    await until(lambda: not kernel.client.console_busy)
    assert (await run(other, session_id, "1 + 1")).result == "2"


async def test_a_person_s_cell_that_begins_while_the_values_are_kept_keeps_it(both: tuple[Fakes, Fakes]) -> None:
    one, _ = both
    _, kernel, asked = await asked_for_while_values_are_kept(both)
    kernel.begin_cell("input()")
    await until(lambda: kernel.client.console_busy)
    kernel.answer_now()
    with pytest.raises(SessionBusy, match="A person's cell"):
        await asked
    assert one.kernels == [kernel]
    assert kernel.process.returncode is None


async def test_a_step_that_begins_while_the_values_are_kept_keeps_it(both: tuple[Fakes, Fakes]) -> None:
    """The kernel is not ended under it."""
    one, _ = both
    session_id, kernel, asked = await asked_for_while_values_are_kept(both)
    begun = asyncio.ensure_future(run(one, session_id, "x + 1"))
    await until(lambda: one.registry.handles.sessions[session_id].running)
    kernel.answer_now()
    with pytest.raises(SessionBusy, match="session"):
        await asked
    assert (await begun).result == "42"
    assert one.kernels == [kernel]


async def test_a_loss_that_nobody_was_told_of_is_told_where_it_is_used_next(both: tuple[Fakes, Fakes]) -> None:
    one, other = both
    session_id = await opened(one)
    await run(one, session_id, DIES, wait_ms=0)
    session = one.registry.handles.sessions[session_id]
    await until(lambda: not session.running)
    loss = session.told.unreported
    assert isinstance(loss, LossReport)
    lost = (await run(other, session_id, "1")).lost
    assert loss.reason in lost.reason
    assert "it was moved" in lost.reason
    assert (await run(other, session_id, "1")).lost is None


async def test_one_that_is_taken_back_before_it_is_used_is_asked_for_again(both: tuple[Fakes, Fakes]) -> None:
    """Between its opening and its use another process may ask, and get it: it is not used without its lock then."""
    one, other = both
    session_id = await opened(one)
    await run(one, session_id, "x = 41")
    handles = other.registry.handles
    get = handles.get

    async def got(asked_for: str, roots: Any) -> Any:
        session = await get(asked_for, roots)
        handles.get = get  # type: ignore[method-assign]
        assert (await run(one, asked_for, "x += 1; x")).status == "ok"
        assert asked_for not in handles.sessions
        return session

    handles.get = got  # type: ignore[assignment, method-assign]
    assert (await run(other, session_id, "x")).result == "42"
    assert list(handles.sessions) == [session_id]
    assert list(one.registry.handles.sessions) == []


async def test_answers_are_sent_elsewhere_only_where_the_session_is_elsewhere() -> None:
    """A session is busy for other reasons too, of which what is to be done is said with them."""
    with pytest.raises(SessionBusy) as busy, answered_elsewhere():
        raise SessionBusy("The disk does not answer.", "Call the tool again later.")
    assert busy.value.next_step == "Call the tool again later."
    with pytest.raises(SessionBusy, match="driven by another") as busy, answered_elsewhere():
        raise driven_elsewhere("s_1", 1)
    assert busy.value.next_step.startswith("Answer where the session is driven")
    assert busy.value.code == "SESSION_BUSY"


async def test_one_that_others_always_have_first_is_busy(both: tuple[Fakes, Fakes]) -> None:
    one, other = both
    session_id = await opened(one)
    asks = other.registry.handles.elsewhere
    assert isinstance(asks, Asks)
    asks.meanwhile = lambda: run(one, session_id, "1")
    with pytest.raises(SessionBusy, match="driven by another server process"):
        await run(other, session_id, "1")
    assert asks.asked == 3
