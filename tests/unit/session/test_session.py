"""A session's steps, over kernels that end, that never answer, and whose answer nobody heard."""

from __future__ import annotations

import asyncio

import pytest

from rlm_kernel_mcp.context_wire import LOAD_CONTEXT
from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.session.kernels import context_loading, variables
from rlm_kernel_mcp.session.opening import INFO_S
from rlm_kernel_mcp.wire import GET_VAR
from tests.cancelling import cancelled_at, counted_tasks
from tests.fake_kernel import DIES, FOREVER, Fakes
from tests.sessions import WAIT_S, until

pytestmark = pytest.mark.anyio
SOON_S = 0.01
"""In place of a bound that is meant for a person's kernel."""


async def test_a_step_runs_with_the_context_and_binds_names(fakes: Fakes) -> None:
    """What the fake kernel is for: the real way of a step, but for the process."""
    session, _ = await fakes.open("the context")
    report = await session.ok("x = len(context)")
    assert [row.name for row in report.updated_vars_summary] == ["x"]
    assert (await session.ok("x + 1")).result == "12"
    assert await session.value("x") == 11
    error = (await session.run("1 / 0")).error
    assert error is not None
    assert error.ename == "ZeroDivisionError"
    assert (await session.finalize(var="x")).final_answer == "11"
    assert fakes.kernels[0].process.returncode == -9


async def test_a_kernel_that_dies_between_two_steps_is_replaced_before_the_next(fakes: Fakes) -> None:
    """The next step runs in a fresh one and tells the reason, once."""
    session, first = await fakes.open()
    await session.ok("x = 1")
    first.process.end(3)
    report = await session.ok("x")
    assert report.result == "1"
    assert report.lost is not None
    assert "ended with exit status 3" in report.lost.reason
    assert set(report.lost.restored) == {"context", "documents", "scratch", "x"}
    assert (await session.ok("x")).lost is None
    assert len(fakes.kernels) == 2


async def test_a_first_kernel_that_cannot_hold_the_context_says_so_in_its_step(fakes: Fakes) -> None:
    """As a child's does, which is made at its first use: else the step would say that there is no such name."""
    session, first = await fakes.open()
    first.process.end(3)
    session.session.kernel.recovery.is_first = True
    short = {"status": "error", "ename": "MemoryError", "evalue": ""}
    fakes.starter.prepare = lambda kernel: kernel.says.update(
        {LOAD_CONTEXT: lambda asked: short if asked["source"] != "gone" else kernel.without_context()}
    )
    report = await session.run("1")
    assert report.lost is not None
    assert {name for name, _ in report.lost.names} == {"context", "documents"}
    assert all("memory (RLM_MEMORY_LIMIT_MB) cannot hold them" in why for _, why in report.lost.names)


async def test_a_first_kernel_that_has_all_of_it_has_nothing_to_tell(fakes: Fakes) -> None:
    session, first = await fakes.open()
    first.process.end(3)
    session.session.kernel.recovery.is_first = True
    assert (await session.ok("context")).lost is None


async def test_a_kernel_that_dies_in_a_step_is_replaced_at_once(fakes: Fakes) -> None:
    """The step says so, and what was bound before is back."""
    session, _ = await fakes.open()
    await session.ok("x = 1")
    report = await session.run(DIES)
    assert report.status == "kernel_died"
    assert report.lost is not None
    assert "x" in report.lost.restored
    assert await session.value("x") == 1


async def test_a_step_that_never_answers_is_ended_by_the_ladder(fakes: Fakes) -> None:
    """SIGINT twice, SIGKILL, another kernel; and the session goes on."""
    session, deaf = await fakes.open()
    deaf.deaf = {"SIGINT"}
    report = await session.run(FOREVER, timeout_ms=1)
    assert (report.status, report.stdout) == ("timeout", "begun\n")
    assert deaf.heard[-3:] == ["SIGINT", "SIGINT", "SIGKILL"]
    rungs = [event.summary for event in await session.trace("summary") if event.action == "interrupt"]
    assert [rung.partition(" ")[0] for rung in rungs] == ["SIGINT", "SIGINT", "SIGKILL"]
    assert (await session.ok("context")).result == "'some text'"


async def test_an_interrupted_step_that_obeys_keeps_its_kernel(fakes: Fakes) -> None:
    """One signal."""
    session, kernel = await fakes.open()
    await session.begin(FOREVER)
    await session.until_printed("begun")
    assert (await session.interrupt()).status == "interrupted"
    assert kernel.heard.count("SIGINT") == 1
    assert len(fakes.kernels) == 1


async def test_a_read_that_is_never_answered_is_given_up(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told why; the kernel and its session stay."""
    monkeypatch.setattr(variables, "READ_TIMEOUT_S", SOON_S)
    session, kernel = await fakes.open()
    await session.ok("x = 1")
    kernel.deaf = {GET_VAR}
    with pytest.raises(KernelDied, match="did not answer within"):
        await session.value("x")
    kernel.answer_now()
    monkeypatch.setattr(variables, "READ_TIMEOUT_S", WAIT_S)
    assert await session.value("x") == 1
    assert len(fakes.kernels) == 1


async def test_kernels_that_never_take_a_context_open_no_session(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is ended, three are tried, and no place is held."""
    monkeypatch.setattr(context_loading, "MESSAGE_S", SOON_S)

    def deafen(kernel: object) -> None:
        fakes.kernels[-1].deaf = {LOAD_CONTEXT}

    fakes.starter.prepare = deafen
    with pytest.raises(KernelDied, match="did not take the context"):
        await fakes.open()
    assert [kernel.process.returncode for kernel in fakes.kernels] == [-9, -9, -9]
    assert fakes.registry._slots._held == {}


async def test_a_kernel_that_never_takes_a_text_is_replaced_and_the_log_says_what_it_does(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before a client gives up: a text that comes with the message needs no time for a disk."""
    assert context_loading.MESSAGE_S + INFO_S <= 60
    monkeypatch.setattr(context_loading, "MESSAGE_S", SOON_S)

    def deafen(kernel: object) -> None:
        if len(fakes.kernels) == 1:
            fakes.kernels[-1].deaf = {LOAD_CONTEXT}

    fakes.starter.prepare = deafen
    with caplog.at_level("WARNING"):
        session, _ = await fakes.open()
    await session.ok("x = 1")
    assert fakes.kernels[0].process.returncode == -9
    assert "its threads: none" in caplog.text


async def test_a_step_whose_delivery_was_cut_off_is_delivered_again(fakes: Fakes) -> None:
    """Wherever: its text, its loss and its charge are there for who asks next; the code ran once."""
    session, _ = await fakes.open()
    await session.ok("n = 0")
    reports, cuts = 0, 0
    for nth in range(1, 100):
        await session.ok("n = n")  # tells what is left of the step before
        fakes.kernels[-1].process.end(3)

        async def run() -> None:
            await session.run("n = n + 1")

        with counted_tasks():
            reached, cut_off = await cancelled_at(nth, run)
        index = session.session.counters.step_index
        if index == (before := 2 * nth):  # cut off before it began
            await session.ok("n = n + 1")
            index += 1
        report = await session.end_of(index)
        assert (report.status, index) == ("ok", before + 1)
        if cut_off:
            cuts += 1
            assert report.lost is not None, f"cut off at await {nth}"
        reports += 1
        if reached < nth:
            break
    assert cuts > 3
    assert await session.value("n") == reports


@pytest.mark.parametrize("asks", ["for that step", "for the next"])
async def test_a_loss_is_told_by_the_reply_that_arrives(fakes: Fakes, asks: str) -> None:
    """The wait for the step was cut off, and so was nothing else."""
    session, kernel = await fakes.open()
    await session.ok("x = 1")
    kernel.process.end(3)
    first = asyncio.create_task(session.run("x"))
    async with asyncio.timeout(WAIT_S):
        while not session.session.running:  # noqa: ASYNC110  (at each turn of the loop: it is not for long)
            await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(WAIT_S):
        await asyncio.wait({first})
    await until(lambda: not session.session.running)
    report = await (session.end_of(2) if asks == "for that step" else session.ok("x"))
    assert (report.result, report.lost is not None) == ("1", True)
    assert (await session.end_of(2)).lost is not None, "of one step again and again"
    assert (await session.ok("x")).lost is None
