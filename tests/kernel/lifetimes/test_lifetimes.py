"""How long a session is held, and by what: calls, clocks, consoles, other servers, a close that fails."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from pathlib import Path
from typing import Final

import psutil
import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient

from rlm_kernel_mcp.context.loader.spool import Spool, Spooled
from rlm_kernel_mcp.errors import RlmError, SessionFinalized, VariableNotFound
from rlm_kernel_mcp.kernel.untrusted.reply import Reply
from rlm_kernel_mcp.session import finalize, idle_watch, registry
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.evidence.citations import Checked, Coverage
from rlm_kernel_mcp.session.kernels import loading
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.text.wording import NOTHING_LEFT_TO_INTERRUPT
from tests.cancelling import call_tool, held_by, open_files
from tests.processes import left_over
from tests.sessions import AMPLE, WAIT_S, SessionDriver, at_rest, open_registry, until

pytestmark = pytest.mark.anyio

NO_SPARE: Final = {"pool": {"spare_kernels": 0}}


def locks(opened: registry.Registry) -> list[str]:
    return [path.stem for path in (opened.settings.state_dir / "locks").glob("*")]


def held_up(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """What is set once the server has made a file of its own for a text, and what has to be set for it to go on."""
    made, go_on, make = threading.Event(), threading.Event(), Spool.make

    def make_and_wait(spool: Spool) -> Spooled:
        file = make(spool)
        made.set()
        go_on.wait(WAIT_S)
        return file

    monkeypatch.setattr(Spool, "make", make_and_wait)
    return made, go_on


async def test_a_load_that_nobody_waits_for_any_more_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several files are laid together in an unlinked one, which goes with the thread's work."""
    for name in "abc":
        (tmp_path / name).write_text("line\n" * 3_000_000, encoding="utf-8")
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(tmp_path)) as opened:

        def copies() -> int:
            return sum("rlm-context" in name for name in open_files())

        for _ in range(3):
            made, go_on = held_up(monkeypatch)
            paths = [str(tmp_path / name) for name in "abc"]
            loading_it = asyncio.create_task(opened.init_context(context_text=None, context_paths=paths, limits=AMPLE))
            await until(made.is_set)
            assert copies() > 0
            loading_it.cancel()
            await asyncio.wait({loading_it})
            go_on.set()
            await until(lambda: copies() == 0)
        assert (await held_by(opened)).slots == ()


async def test_who_opened_a_session_is_known_as_long_as_it_is_held(tmp_path: Path) -> None:
    """From the call to the registry, and no longer than the session's lock."""
    async with open_registry(tmp_path) as opened:
        session_id = (await call_tool(opened, "rlm_init_context", context_text="x"))["data"]["session_id"]
        assert opened.handles.opened_by == {session_id: opened.own}
        await SessionDriver(opened, session_id).finalize(text="done")
        assert opened.handles.opened_by == {}


async def test_a_look_at_an_ended_session_holds_nothing(tmp_path: Path) -> None:
    """In the server that had it and in another: every call is answered, and neither file, lock nor session stays."""
    async with open_registry(tmp_path) as first, open_registry(tmp_path) as second:
        ended = [await SessionDriver.open(first) for _ in range(3)]
        for driver in ended:
            await driver.ok("print('said')")
            await driver.finalize(text="done")
        for opened in (first, second):
            await held_by(opened)  # until each has its spare kernel: their processes are counted together
        for opened in (first, second):
            before = await held_by(opened)
            for driver in ended:
                there = SessionDriver(opened, driver.session_id)
                with pytest.raises(SessionFinalized):
                    await there.value("x")
                with pytest.raises(SessionFinalized):
                    await there.run("1")
                assert (await there.end_of(1)).stdout == "said\n"
                assert (await there.interrupt()).note == NOTHING_LEFT_TO_INTERRUPT
                assert (await there.finalize(text="done")).final_answer == "done"
                with pytest.raises(SessionFinalized):
                    await there.finalize(text="another")
                await there.trace()
            assert await held_by(opened) == before
            assert before.sessions == before.locks == ()


async def test_a_session_that_is_read_keeps_its_place_until_it_has_answered(tmp_path: Path) -> None:
    """Another one that needs the place gets it then."""
    async with open_registry(tmp_path, policy=NO_SPARE, RLM_MAX_SESSIONS="1") as opened:
        driver = await SessionDriver.open(opened)
        await driver.ok("x = 'read'")
        await driver.session.kernel.recovery.snapshots.settle()
        await driver.pause_kernel()
        reading = asyncio.create_task(driver.value("x"))
        await until(lambda: driver.session.kernel.being_read)
        opening = asyncio.create_task(SessionDriver.open(opened, "the other"))
        await until(lambda: bool(opened._slots._waiting))
        assert driver.session.has_kernel
        driver.kernel.process.send_signal(signal.SIGCONT)
        assert await reading == "read"
        assert (await (await opening).ok("context")).result == "'the other'"


async def test_a_read_under_way_makes_no_kernel_for_a_session_that_is_finalized(tmp_path: Path) -> None:
    """It is told that the session has its answer, and no kernel is left to nobody."""
    async with open_registry(tmp_path, policy=NO_SPARE) as opened:
        driver = await SessionDriver.open(opened)
        await driver.ok("x = 1")
        await driver.session.kernel.recovery.snapshots.settle()
        await driver.pause_kernel()
        reads = [asyncio.create_task(driver.value("x")) for _ in range(2)]
        await until(lambda: driver.session.kernel.being_read)
        await driver.finalize(text="done")
        for answer in await asyncio.gather(*reads, return_exceptions=True):
            assert isinstance(answer, SessionFinalized)
        held = await held_by(opened)
        assert (held.kernels, held.directories, held.slots, held.locks) == (0, 0, (), ())


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_one_session_s_close_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Kernels, locks and the run directory are gone all the same."""
    monkeypatch.setattr(registry, "CLOSE_S", 1.0)
    close, never = Session.close, asyncio.Event()
    await at_rest()
    others = set(psutil.Process().children(recursive=True))  # servers of other tests
    async with open_registry(tmp_path) as opened:
        bad, good = await SessionDriver.open(opened), await SessionDriver.open(opened)
        processes, run_directory = set(psutil.Process().children(recursive=True)) - others, opened._run_dir.path

        async def badly(session: Session, reason: str) -> None:
            if session.session_id != bad.session_id:
                await close(session, reason)
            elif how == "fails":
                raise ZeroDivisionError
            else:
                await never.wait()

        monkeypatch.setattr(Session, "close", badly)
        kernel = good.kernel
        await opened.close()
        assert kernel.dead.done()
        assert left_over(processes, WAIT_S) == []
        assert locks(opened) == []
        assert not run_directory.exists()


async def test_nothing_of_what_a_step_said_is_held_but_by_the_outcomes(tmp_path: Path) -> None:
    """Each idle session's connection held its last reply, of up to 45 MB, beside the 16 MB of all outcomes."""

    def held() -> list[int]:
        gc.collect()  # a reply in a cycle is held by nobody
        return [reply.stdout.chars for reply in gc.get_objects() if type(reply) is Reply and reply.stdout.chars]

    async with open_registry(tmp_path) as registry:
        sessions = [await SessionDriver.open(registry) for _ in range(2)]
        for session in sessions:
            begun = await session.begin("print('said')\nwhile True: pass")
            await session.until_printed("said")
            assert held() == [len("said\n")]  # the control
            await session.interrupt()
            await session.end_of(begun.step_index)
            await until(lambda: held() == [])  # a step of a second has a task for its progress, which ends a turn later


async def test_short_work_waits_for_no_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many large ones as may be are under way: texts and a file are opened, output written, names compared."""
    for name in ("a.txt", "many/b.txt", "many/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a file", encoding="utf-8")
    monkeypatch.setattr(loading, "LARGE", 3)
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(tmp_path)) as opened:
        for _ in range(loading.LOADS_MAX):
            loading._turns.acquire()
        try:
            paths = [str(tmp_path / "many")]
            waiting = asyncio.create_task(opened.init_context(context_text=None, context_paths=paths, limits=AMPLE))
            await opened.init_context(context_text=None, context_paths=[str(tmp_path / "a.txt")], limits=AMPLE)
            driver = await SessionDriver.open(opened, "x")
            assert (await driver.ok("print('long ' * 200_000)")).status == "ok"
            with pytest.raises(VariableNotFound):
                await driver.value("contest")
            assert not waiting.done()
        finally:
            loading._turns.release(loading.LOADS_MAX)
        told = (await waiting).context
        assert isinstance(told, ContextReport)
        assert told.document_count == 2


@pytest.mark.parametrize("clock", ["2001-01-01T00:00:00.000Z", "2101-01-01T00:00:00.000Z"])
async def test_what_the_wall_clock_says_stops_no_session_and_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """Set back or forward by a century: one used just now stays, an idle one goes."""
    async with open_registry(tmp_path) as opened:
        driver = await SessionDriver.open(opened)
        monkeypatch.setattr(Journal, "now", staticmethod(lambda: clock))
        await idle_watch.watch(driver.session, 3_600)
        assert driver.session.has_kernel
        await driver.ok("x = 1")
        await idle_watch.watch(driver.session, 3_600)
        assert driver.session.has_kernel
        await idle_watch.watch(driver.session, 0)
        assert not driver.session.has_kernel


async def test_a_person_at_a_console_holds_off_the_idle_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For ten minutes from each cell on; then nobody works there."""
    async with open_registry(tmp_path) as opened:
        driver = await SessionDriver.open(opened)
        console = AsyncKernelClient(connection_file=str(driver.kernel.directories.connection_file))
        console.load_connection_file()
        console.start_channels()
        try:
            await console.wait_for_ready(timeout=WAIT_S)  # it hears what is sent from now on
            await console.execute_interactive("1 + 1", timeout=WAIT_S, output_hook=lambda message: None)
        finally:
            console.stop_channels()
        await until(lambda: driver.kernel.client.console_within(idle_watch.CONSOLE_HOLD_S))
        await idle_watch.watch(driver.session, 0)
        assert driver.session.has_kernel
        await until(lambda: not driver.kernel.client.console_busy)
        monkeypatch.setattr(idle_watch, "CONSOLE_HOLD_S", 0)
        await idle_watch.watch(driver.session, 0)
        assert not driver.session.has_kernel


@pytest.mark.slow
async def test_a_session_that_is_idle_for_long_is_let_go_and_comes_back(tmp_path: Path) -> None:
    """Neither its lock nor itself stays; another server has it then, and tells why its kernel was stopped."""
    async with open_registry(tmp_path, RLM_IDLE_TIMEOUT_S="1") as first, open_registry(tmp_path) as second:
        driver = await SessionDriver.open(first)
        await driver.ok("x = [1]")
        await until(lambda: driver.session_id not in first._sessions)
        await until(lambda: locks(first) == [])  # given back behind the last row, by a thread where the disk is slow
        report = await SessionDriver(second, driver.session_id).ok("x")
        assert report.result == "[1]"
        assert report.lost is not None
        assert report.lost.reason == "the session was idle for more than 1 s (RLM_IDLE_TIMEOUT_S)"
        assert report.step_index == 2


async def test_a_restore_that_cannot_be_had_holds_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next session gets it."""
    async with open_registry(tmp_path, policy=NO_SPARE, RLM_MAX_SESSIONS="1") as opened:
        driver = await SessionDriver.open(opened)
        await driver.session.stop_kernel("a test")

        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(type(driver.session.kernel.recovery), "fresh_kernel", fail)
        for _ in range(2):
            answer = await call_tool(opened, "rlm_get_var", session_id=driver.session_id, var_name="x")
            assert answer["error"]["code"] == "INTERNAL_ERROR"
        assert opened._slots._held == {}
        with pytest.raises(RlmError):
            await SessionDriver(opened, "s_nobody").run("1")


@pytest.mark.parametrize("by", ["watch", "call"])
async def test_a_finalize_that_was_cut_short_is_brought_to_its_end(tmp_path: Path, by: str) -> None:
    """The answer stands, the kernel and its values are still there: the watch, or the same call again, ends them."""
    async with open_registry(tmp_path, policy=NO_SPARE) as opened:
        driver = await SessionDriver.open(opened)
        await driver.ok("x = 1")
        session = driver.session
        finalize._commit(session, ("text", "done"), "done", Checked((), Coverage(0)))
        if by == "watch":
            await idle_watch.watch(session, 3_600)
            assert not session.has_kernel
        assert (await driver.finalize(text="done")).final_answer == "done"
        held = await held_by(opened)
        assert (held.kernels, held.directories, held.slots, held.locks, held.sessions) == (0, 0, (), (), ())
        assert list((tmp_path / "snapshots").glob("*")) == []
        assert (await driver.finalize(text="done")).final_answer == "done"
