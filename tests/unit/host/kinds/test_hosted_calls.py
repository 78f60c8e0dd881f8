"""What the end of a program ends, and what it leaves: its own, and what others use just then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.errors import ContextDenied, InvalidInput, SessionBusy, SessionNotFound
from rlm_kernel_mcp.host.kinds.hosted_calls import HostedCalls
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.context_reports import LoadedSoFar, LoadingReport
from rlm_kernel_mcp.session.contexts.given import Progress
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.kernels.session_kernel import SETTLE_S
from rlm_kernel_mcp.session.reports import StepReport
from rlm_kernel_mcp.wire import SNAPSHOT
from tests.fake_kernel import FOREVER, FakeKernel, Fakes, OneRegistry, fake_registry
from tests.sessions import WAIT_S, until

pytestmark = pytest.mark.anyio


class Two:
    """Two programs, of which the first has opened a session."""

    def __init__(self, fakes: Fakes) -> None:
        self.fakes, self.registry = fakes, fakes.registry
        settings = self.registry.settings
        self.callers = [Caller.of(f"client {number}", settings) for number in (1, 2)]
        self.first, self.second = (HostedCalls(OneRegistry(self.registry), settings, caller) for caller in self.callers)
        self.session = {"session_id": ""}

    async def open(self) -> None:
        """The first opens its session."""
        opened = await self.first.init_context({"context_text": "some text"})
        self.session = {"session_id": opened.session_id}

    def has_kernel(self) -> bool:
        """Whether the session's kernel lives."""
        found = self.registry._sessions.get(self.session["session_id"])
        return found is not None and found.has_kernel

    def running(self, calls: HostedCalls) -> asyncio.Task[object]:
        """A step of one of them that does not end."""

        async def run() -> object:
            with calls.under_way("run", self.session["session_id"]):
                return await calls.run({**self.session, "code": FOREVER}, None)

        return asyncio.create_task(run())

    async def slow_to_keep(self) -> FakeKernel:
        """The session's kernel, with a value that is kept when this answers, and not before."""
        [kernel] = self.fakes.kernels
        kernel.large = True
        kernel.deaf.add(SNAPSHOT)
        await self.first.run({**self.session, "code": "x = 1"}, None)
        return kernel

    async def keeping(self) -> None:
        """Return when the session's values are being kept."""
        await until(lambda: self.registry._sessions[self.session["session_id"]].changing)

    async def begun(self) -> None:
        """Return when a step runs."""
        await until(lambda: self.registry._sessions[self.session["session_id"]].running)


@asynccontextmanager
async def two(directory: Path) -> AsyncIterator[Two]:
    async with asyncio.timeout(WAIT_S), fake_registry(directory) as fakes:
        made = Two(fakes)
        await made.open()
        try:
            yield made
        finally:
            for caller in made.callers:
                caller.close()


async def test_the_kernel_of_a_session_that_nobody_else_uses_ends_with_its_program(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        await programs.second.run({**programs.session, "code": "x = 1"}, None)
        await programs.second.let_all_go()
        assert programs.has_kernel()
        await programs.first.let_all_go()
        assert not programs.has_kernel()
        assert (await programs.second.get({**programs.session, "var_name": "x"}, 10, as_text=False)).value == 1


async def test_a_session_in_which_another_client_s_step_runs_is_left_to_it(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        running = programs.running(programs.second)
        await programs.begun()
        await programs.first.let_all_go()
        assert programs.has_kernel()
        with pytest.raises(SessionBusy, match="Step 1"):
            await programs.first.run({**programs.session, "code": "1"}, None)
        await programs.second.interrupt(programs.session["session_id"])
        await running


async def test_a_step_for_which_its_agent_does_not_wait_just_now_counts_too(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        session_id = programs.session["session_id"]
        report = await programs.registry.run_repl(
            session_id, FOREVER, timeout_ms=None, wait_ms=0, max_output_chars=100, caller=programs.callers[1]
        )
        assert report.status == "running"
        await programs.first.let_all_go()
        assert programs.has_kernel()
        await programs.registry.interrupt(session_id)


async def test_a_step_whose_program_has_gone_is_stopped_with_its_kernel(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        running = programs.running(programs.first)
        await programs.begun()
        running.cancel()
        await asyncio.wait([running])
        await programs.first.let_all_go()
        assert not programs.has_kernel()


async def test_a_step_in_another_s_session_is_interrupted_with_its_program_and_the_kernel_stays(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        running = programs.running(programs.second)
        await programs.begun()
        running.cancel()
        await asyncio.wait([running])
        await programs.second.let_all_go()
        session = programs.registry._sessions[programs.session["session_id"]]
        await until(lambda: not session.running)
        assert programs.has_kernel()
        assert (await programs.first.run({**programs.session, "code": "1 + 1"}, None)).result == "2"


async def test_a_session_is_closed_while_its_own_program_runs_a_step_in_it(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        running = programs.running(programs.first)
        await programs.begun()
        await programs.first.let_go(programs.session["session_id"])
        assert not programs.has_kernel()
        await asyncio.wait([running])


async def test_one_call_of_another_client_is_enough_to_leave_a_session_to_it(tmp_path: Path) -> None:
    """The call that lets it go is none that uses it."""
    async with two(tmp_path) as programs:
        session_id = programs.session["session_id"]
        async with programs.registry.handles.in_use(session_id, programs.callers[1]):
            with programs.first.under_way("let_go", session_id):
                await programs.first.let_go(session_id)
            assert programs.has_kernel()


async def test_a_context_that_is_loaded_for_another_client_leaves_the_session_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that began it has been answered, and says that it is loading."""
    go_on = asyncio.Event()
    opened = ContextSource.opened

    async def late(self: ContextSource, *args: Any, **options: Any) -> Payload:
        await go_on.wait()
        return await opened(self, *args, **options)

    async with two(tmp_path) as programs:
        monkeypatch.setattr(ContextSource, "opened", late)
        more = {**programs.session, "name": "more", "text": "of the second", "wait_ms": 0}
        added = await programs.second.add_context(more)
        assert isinstance(added.context, LoadingReport)
        await programs.first.let_go(programs.session["session_id"])
        assert programs.has_kernel()
        go_on.set()
        assert (await programs.second.run({**programs.session, "code": "1 + 1"}, None)).result == "2"


async def test_a_context_that_is_loaded_for_a_client_that_has_gone_keeps_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: ContextSource, *_args: Any, **_options: Any) -> Payload:
        del self
        await asyncio.Event().wait()
        raise AssertionError

    async with two(tmp_path) as programs:
        monkeypatch.setattr(ContextSource, "opened", never)
        await programs.second.add_context({**programs.session, "name": "more", "text": "a text", "wait_ms": 0})
        programs.callers[1].close()
        await programs.first.let_go(programs.session["session_id"])
        assert not programs.has_kernel()


async def test_a_context_that_could_not_be_loaded_for_another_client_keeps_no_session(tmp_path: Path) -> None:
    """Nor does one whose place another has taken."""
    async with two(tmp_path) as programs:
        session = programs.registry._sessions[programs.session["session_id"]]
        first = session.contexts.contexts.first
        first.report, first.has_failed = None, True
        with pytest.raises(ContextDenied):
            await programs.second.add_context({**programs.session, "name": first.name, "paths": [f"{tmp_path}/gone"]})
        await programs.first.let_go(programs.session["session_id"])
        assert not programs.has_kernel()


async def test_a_person_s_cell_that_runs_leaves_the_session_to_its_console(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        kernel = programs.fakes.kernels[0]
        kernel.begin_cell("input()")
        await until(lambda: kernel.client.console_busy)
        await programs.first.let_go(programs.session["session_id"])
        assert programs.has_kernel()


async def test_a_client_that_comes_while_the_values_are_kept_has_the_session(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        kernel = await programs.slow_to_keep()
        letting_go = asyncio.create_task(programs.first.let_go(programs.session["session_id"]))
        await programs.keeping()
        running = programs.running(programs.second)
        await programs.begun()
        kernel.answer_now()
        await letting_go
        assert programs.has_kernel()
        await programs.second.interrupt(programs.session["session_id"])
        await running
        assert len(programs.fakes.kernels) == 1


async def test_a_close_waits_for_the_values_as_long_as_the_stop_of_a_kernel_does(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        kernel = await programs.slow_to_keep()
        letting_go = asyncio.create_task(programs.first.let_go(programs.session["session_id"]))
        _, waiting = await asyncio.wait({letting_go}, timeout=2 * SETTLE_S)
        assert waiting
        kernel.answer_now()
        await letting_go
        assert not programs.has_kernel()
        assert (await programs.second.get({**programs.session, "var_name": "x"}, 10, as_text=False)).value == 1


async def test_of_handles_that_nobody_has_nothing_stays(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        calls, known = programs.first, dict(programs.first._used)
        for number in range(3):
            arguments = {"session_id": f"s_{number}", "code": "1"}
            with pytest.raises(SessionNotFound), calls.under_way("run", arguments["session_id"]):
                await calls.run(arguments, None)
        with pytest.raises(InvalidInput, match="65 characters"), calls.under_way("run", "s" * 65):
            pass
        assert (calls._used, calls._calls, calls._runs) == (known, {}, {})
        with calls.under_way("run", programs.session["session_id"]):
            await calls.run({**programs.session, "code": "1"}, None)
        assert calls._used == known


async def test_of_a_session_that_has_its_final_answer_nothing_stays(tmp_path: Path) -> None:
    async with two(tmp_path) as programs:
        with programs.first.under_way("finalize", programs.session["session_id"]):
            await programs.first.finalize({**programs.session, "final_text": "an answer"})
        assert programs.first._used == {}


async def test_a_person_ends_a_kernel_whoever_has_opened_its_session_and_its_values_are_kept(tmp_path: Path) -> None:
    """By a program of its own, which is gone then; it has no right to the session's end that others have not."""
    async with two(tmp_path) as programs:
        await programs.first.run({**programs.session, "code": "x = 1"}, None)
        await programs.second.end_kernel(programs.session["session_id"])
        assert not programs.has_kernel()
        assert (await programs.first.get({**programs.session, "var_name": "x"}, 10, as_text=False)).value == 1


async def test_a_step_that_runs_ends_with_the_kernel_that_a_person_ends(tmp_path: Path) -> None:
    """And its client is told why. The session is there again with the next call."""
    async with two(tmp_path) as programs:
        running = programs.running(programs.first)
        await programs.begun()
        await programs.second.end_kernel(programs.session["session_id"])
        report = await running
        assert isinstance(report, StepReport)
        assert (report.status, report.lost is not None) == ("kernel_died", True)
        assert report.lost is not None
        assert "a person has ended it" in report.lost.reason
        assert (await programs.first.run({**programs.session, "code": "1 + 1"}, None)).result == "2"


async def test_a_client_that_comes_while_the_values_are_kept_does_not_keep_a_kernel_from_its_end(
    tmp_path: Path,
) -> None:
    """A person who ends it means that."""
    async with two(tmp_path) as programs:
        kernel = await programs.slow_to_keep()
        ending = asyncio.create_task(programs.second.end_kernel(programs.session["session_id"]))
        await programs.keeping()
        running = programs.running(programs.first)
        await programs.begun()
        kernel.answer_now()
        await ending
        assert not programs.has_kernel()
        await asyncio.wait([running])


async def test_a_kernel_that_a_person_starts_again_stays_when_that_program_has_gone(tmp_path: Path) -> None:
    """What was lost is told with the next step, and the record has it at once."""
    async with two(tmp_path) as programs:
        session_id = programs.session["session_id"]
        await programs.first.run({**programs.session, "code": "x = 1"}, None)
        await programs.first.end_kernel(session_id)
        await programs.second.reopen_kernel(session_id)
        events = await programs.first.trace({**programs.session, "detail": "full"})
        assert (events[-1].action, "x" in events[-1].facts["restored"]) == ("restore", True)
        await programs.second.let_all_go()
        assert programs.has_kernel()
        report = await programs.first.run({**programs.session, "code": "x + 1"}, None)
        assert report.lost is not None
        assert "x" in report.lost.restored


async def test_a_person_hears_how_far_the_contexts_of_a_kernel_are_that_is_started_again(tmp_path: Path) -> None:
    """And nothing where nothing is read, or the session is in no registry."""
    async with two(tmp_path) as programs:
        session = {"session_id": programs.session["session_id"]}
        assert await programs.second.loaded_so_far(session) == LoadedSoFar()
        registry = programs.fakes.registry
        contexts = registry.handles.sessions[session["session_id"]].contexts.contexts
        contexts.read_again = [Progress(3, 10)]
        assert await programs.second.loaded_so_far(session) == LoadedSoFar(3, 10)
        contexts.read_again = []
        assert await programs.second.loaded_so_far({"session_id": "s_none"}) == LoadedSoFar()


async def test_a_kernel_that_is_there_is_left_as_it_is_by_a_person_who_starts_it(tmp_path: Path) -> None:
    """Also while a step runs in it."""
    async with two(tmp_path) as programs:
        session_id = programs.session["session_id"]
        running = programs.running(programs.first)
        await programs.begun()
        await programs.second.reopen_kernel(session_id)
        await programs.first.interrupt(session_id)
        await running
        await programs.second.reopen_kernel(session_id)
        assert len(programs.fakes.kernels) == 1
