"""The Python front door over a kernel without a process: what programs are given, refused and told, by either door."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp import errors
from rlm_kernel_mcp.api import AsyncSession, Door, InProcess, Output, Session, Sessions, ThroughHost
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.host.kinds.conversation import Conversation
from rlm_kernel_mcp.host.kinds.hosted_calls import HostedCalls
from rlm_kernel_mcp.session import finalize
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.trace import reading
from tests.fake_kernel import DIES, FOREVER, FakeKernel, Fakes, OneRegistry, fake_registry
from tests.sessions import WAIT_S

ACTS = "\x1b]0;evil\x07\u202e"
"""It would act on a terminal."""
BOUND = f"x = {ACTS!a}"


class Place:
    """A place whose kernels are fakes, for a loop of its own or another's."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._made: list[AbstractAsyncContextManager[Fakes]] = []
        self.fakes: Fakes
        self.door = self._door()

    def _door(self) -> Door:
        return InProcess(open_registry=self._open)

    @property
    def kernel(self) -> FakeKernel:
        """The newest."""
        return self.fakes.kernels[-1]

    async def _open(self) -> Registry:
        self._made.append(fake_registry(self._state_dir))
        self.fakes = await self._made[-1].__aenter__()
        return self.fakes.registry

    def says(self, text: str) -> None:
        """The kernel's running step prints; called in the kernel's loop."""
        assert self.kernel._running is not None
        self.kernel.iopub.say("stream", {"name": "stdout", "text": text}, self.kernel._running[0])


class HostedPlace(Place):
    """The same at the other end of a connection, behind the two looks."""

    def _door(self) -> Door:
        return Loopbound({"RLM_STATE_DIR": str(self._state_dir)}, self._serve, self._end)

    async def _serve(self, connection: socket.socket) -> None:
        if not self._made:
            await self._open()
        registry = self.fakes.registry
        calls = HostedCalls(OneRegistry(registry), registry.settings, registry.own)
        pidfd = os.pidfd_open(os.getpid())
        try:
            await Conversation(connection, calls).serve(pidfd)
        finally:
            os.close(pidfd)
            connection.close()

    async def _end(self) -> None:
        if self._made:
            await self.fakes.registry.close()


class Loopbound(ThroughHost):
    """A door to a host that lives in the loop in which it is opened."""

    def __init__(
        self,
        env: dict[str, str],
        serve: Callable[[socket.socket], Coroutine[Any, Any, None]],
        end: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(env, attach=self._connected)
        self._serve, self._end_host = serve, end
        self.served: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        await super().open()

    async def close(self) -> None:
        await super().close()
        if self.served:
            await asyncio.wait(self.served)
        await self._end_host()

    def _connected(self, _program: Program) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setblocking(False)
        self._loop.call_soon_threadsafe(lambda: self.served.append(self._loop.create_task(self._serve(theirs))))
        return ours


@pytest.fixture(params=[Place, HostedPlace], ids=["in this process", "in a host"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    made: Place = request.param(tmp_path)
    return made


@asynccontextmanager
async def opened(place: Place, **options: Any) -> AsyncIterator[AsyncSession]:
    """A session, and its place's end."""
    async with asyncio.timeout(WAIT_S):
        try:
            async with AsyncSession(door=place.door, **(options or {"context_text": "some text"})) as session:
                yield session
        finally:
            await place.door.close()


@pytest.mark.anyio
async def test_texts_and_values_are_raw(place: Place) -> None:
    """Nothing is made safe to show: a program compares, stores and parses them."""
    async with opened(place) as session:
        assert (await session.run(BOUND)).status == "ok"
        assert await session.get("x") == ACTS
        assert await session.get_text("x", offset=1, limit=3) == ACTS[1:4]
        await session.put("y", {"key": [ACTS, None, 1.5]})
        assert await session.get("y", dict) == {"key": [ACTS, None, 1.5]}
        (step, _) = await session.trace(from_step=1, full=True)
        assert step.code == BOUND
        assert (await session.trace(from_step=1))[0].code is None
        final = await session.finalize(final_text=ACTS * 100_000)
        assert (final.final_answer, final.final_answer_chars) == (ACTS * 100_000, len(ACTS) * 100_000)


@pytest.mark.anyio
async def test_output_is_told_as_it_comes_and_is_in_all_what_the_report_has(place: Place) -> None:
    """The step still runs when its first output is told."""
    told: list[Output] = []
    came = asyncio.Event()

    def tell(piece: Output) -> None:
        told.append(piece)
        came.set()

    async with opened(place) as session:
        running = asyncio.create_task(session.run(FOREVER, on_output=tell))
        await came.wait()
        assert not running.done()
        place.says(ACTS)
        await session.interrupt()
        report = await running
        assert report.status == "interrupted"
        assert told[0] == Output("stdout", "begun\n")
        assert "".join(map(str, told)) == report.stdout == "begun\n" + ACTS


@pytest.mark.anyio
async def test_a_cancelled_run_interrupts_its_step(place: Place) -> None:
    """Nobody would ask for its end, and the next step would find the session busy."""
    async with opened(place) as session:
        came = asyncio.Event()
        running = asyncio.create_task(session.run(FOREVER, on_output=lambda piece: came.set()))
        await came.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert "SIGINT" in place.kernel.heard
        assert (await session.run("1 + 1")).result == "2"


@pytest.mark.anyio
async def test_a_step_that_fails_or_is_refused_is_told_apart(place: Place) -> None:
    """The code's own exception is data, and so is a kernel's end; what the session refuses is raised."""
    async with opened(place) as session:
        failed = await session.run("1 / 0")
        assert failed.error is not None
        assert (failed.status, failed.error.ename) == ("error", "ZeroDivisionError")
        assert (await session.run(DIES)).status == "kernel_died"
        await session.finalize(final_text="done")
        with pytest.raises(errors.SessionFinalized) as raised:
            await session.run("1")
        assert (raised.value.code, bool(raised.value.next_step)) == ("SESSION_FINALIZED", True)


@pytest.mark.anyio
async def test_what_is_left_of_the_budget_bounds_what_is_delivered(place: Place) -> None:
    """A program that lets a model write the code sets it, and sees in the report what was cut."""
    code = "'a' * 1000"
    async with opened(place, context_text="some text", budget_limit=len(code) + 100, max_steps=5) as session:
        report = await session.run(code)
        assert report.result == "'" + "a" * 99
        assert (report.guardrail_stop, report.truncated.result) == ("budget_exceeded", 902)
        assert (await session.run("1")).status == "stopped"
        with pytest.raises(errors.InvalidInput, match="y was not bound, the step ended with stopped"):
            await session.put("y", 1)


@pytest.mark.anyio
async def test_a_trace_that_is_long_is_read_in_pages_and_given_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlm_kernel_mcp.session.trace.reading.PAGE_BYTES", 1)
    async with opened(place) as session:
        for number in range(3):
            await session.run(f"{number} + 1")
        assert [event.step_index for event in await session.trace()] == [0, 1, 2, 3]
        assert [event.result for event in await session.trace(from_step=2, full=True)] == ["2", "3"]


@pytest.mark.anyio
async def test_a_cancelled_run_whose_host_ends_is_cancelled_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(place) as session:
        came = asyncio.Event()
        running = asyncio.create_task(session.run(FOREVER, on_output=lambda piece: came.set()))
        await came.wait()
        interrupt = place.door.interrupt

        async def interrupt_and_end(session_id: str) -> None:
            await interrupt(session_id)
            raise errors.HostEnded("the host ended")

        monkeypatch.setattr(place.door, "interrupt", interrupt_and_end)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


Use = Callable[[AsyncSession], Any]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("use", "kind", "words"),
    [
        (lambda session: session.run(""), errors.InvalidInput, "code must be"),
        (lambda session: session.run("1", timeout_ms=0), errors.InvalidInput, "timeout_ms must be"),
        (lambda session: session.get("nam"), errors.VariableNotFound, "nearest: name"),
        (lambda session: session.get("a b"), errors.InvalidInput, "var_name must be"),
        (lambda session: session.get("name", int), errors.InvalidInput, "name is no int: it is a str"),
        (lambda session: session.get_text("name", limit=0), errors.InvalidInput, "from 1 to 4,000,000: 0"),
        (lambda session: session.put("class", 1), errors.InvalidInput, "'class' is no name"),
        (lambda session: session.put("x", float("nan")), errors.InvalidInput, "The value for x is no JSON"),
        (lambda session: session.put("x", {1}), errors.InvalidInput, "The value for x is no JSON"),
        (lambda session: session.put("x", "a" * 200_000), errors.InvalidInput, "200,006 characters; put takes at most"),
        (lambda session: session.finalize(), errors.InvalidInput, "exactly one of final_text and final_var_name"),
        (lambda session: session.add_context("more"), errors.InvalidInput, "exactly one of text, paths and json_text"),
        (lambda session: session.trace(from_step=2, to_step=1), errors.InvalidInput, "lies after to_step=1"),
    ],
)
async def test_what_is_wrong_is_raised_in_the_words_of_the_tools(
    place: Place, use: Use, kind: type[errors.RlmError], words: str
) -> None:
    """Each with its bound and its unit."""
    async with opened(place) as session:
        await session.run("name = 'value'")
        with pytest.raises(kind) as raised:
            await use(session)
        assert words in raised.value.message


@pytest.mark.anyio
async def test_a_session_goes_on_by_its_handle_where_it_was(place: Place) -> None:
    """Its values come back into a fresh kernel, in this place or another of the same record."""
    async with AsyncSession(door=place.door, context_text="some text") as first:
        await first.put("x", [1, 2])
    assert place.kernel.process.poll() is not None
    with pytest.raises(errors.InvalidInput, match="session_id goes without context_text"):
        await AsyncSession(door=place.door, session_id=first.session_id, context_text="other").open()
    async with opened(place, session_id=first.session_id) as again:
        assert await again.get("x") == [1, 2]
        assert again.opened is None


@pytest.mark.anyio
async def test_a_handle_that_nobody_has_and_a_closed_session_are_said(place: Place) -> None:
    """At the opening, not at the first call."""
    async with opened(place) as session:
        with pytest.raises(errors.SessionNotFound):
            await AsyncSession(door=place.door, session_id="s_nobodys").open()
    with pytest.raises(errors.InvalidInput, match="The session is closed"):
        await session.get("context")
    await session.close()


@pytest.mark.parametrize("make", [Session, Sessions, AsyncSession])
def test_a_setting_or_a_host_that_is_not_known_is_refused(make: Callable[..., object]) -> None:
    """Before anything begins."""
    with pytest.raises(errors.InvalidInput, match="it is one of 'auto', 'required', 'off'"):
        make(host="elsewhere")


def test_an_option_that_there_is_not_is_named_with_those_that_there_are() -> None:
    """Whatever was given for it: a host would only be told that this is no JSON."""
    options: dict[str, Any] = {"context_text": "some text", "host_function": {"f": len}}
    with pytest.raises(errors.InvalidInput, match=r"has no option host_function; it has: .*, host_functions, "):
        AsyncSession(**options)


def test_a_misspelt_setting_is_refused() -> None:
    """It would hold nothing without a word."""
    with pytest.raises(errors.InvalidInput, match="There is no setting RLM_MEMORY_LIMIT; the settings are: "):
        Session(env={"RLM_MEMORY_LIMIT": "512"}, context_text="x")
    assert session_threads() == []


def test_a_program_without_a_loop_has_all_of_it_and_leaves_no_thread(place: Place) -> None:
    """Two sessions in one place, closed one after the other."""
    with Sessions(door=place.door) as sessions:
        with sessions.open(context_text="some text") as one, Session(sessions, context_text="other") as other:
            other.put("x", 1)
            assert one.run("x = 2").status == "ok"
            assert (one.get("x", int), other.get("x"), other.get_text("x")) == (2, 1, "1")
            assert other.add_context("more", text="zzz").context.name == "more"
            assert one.opened is not None
            assert one.opened.context.kind == "text"
            assert [event.action for event in other.trace()] == ["init_context", "run_repl", "add_context"]
            assert other.finalize(final_var_name="x").final_answer == "1"
            one.interrupt()
        one.close()
    one.close()
    sessions.close()
    assert session_threads() == []
    with pytest.raises(errors.InvalidInput, match="The session is closed"):
        one.run("1")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_what_ends_the_wait_for_a_step_interrupts_it(place: Place, kind: type[BaseException]) -> None:
    """Ctrl-C, or a fault of the function that is told the output; the session goes on."""

    def raises(piece: Output) -> None:
        assert piece.text == "begun\n"
        raise kind

    with Sessions(door=place.door) as sessions, sessions.open(context_text="some text") as session:
        with pytest.raises(kind):
            session.run(FOREVER, on_output=raises)
        assert session.run("1 + 1").result == "2"
        assert [event.result_status for event in session.trace() if event.action == "run_repl"] == ["interrupted", "ok"]


def test_a_session_that_is_forgotten_is_closed_with_a_warning(place: Place) -> None:
    """As a file is."""
    session = Sessions(door=place.door).open(context_text="some text")
    session.itself = session  # type: ignore[attr-defined]  # so that it goes when the garbage is collected
    (thread,) = session_threads()
    del session
    with pytest.warns(ResourceWarning, match="not closed"):
        gc.collect()
    thread.join(WAIT_S)
    assert session_threads() == []
    assert place.kernel.process.poll() is not None


def session_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "rlm session"]


@pytest.mark.anyio
async def test_a_long_answer_comes_whole_to_a_program(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part, of which a host holds one; again too, and the trace has its ends."""
    monkeypatch.setattr(finalize, "ANSWER_CHARS_MAX", 1_000)
    monkeypatch.setattr(reading, "PART_CHARS", 700)
    monkeypatch.setattr(reading, "END_CHARS", 400)
    answer = "".join(f"{number} é \ud800 😀 {ACTS}\n" for number in range(400))
    async with opened(place) as session:
        place.kernel.names["answer"] = answer
        for _ in range(2):
            report = await session.finalize(final_var_name="answer")
            assert (report.final_answer, report.final_answer_chars) == (answer, len(answer))
            assert (report.cut_chars, report.note) == (0, None)
        (event,) = (event for event in await session.trace(full=True) if event.action == "finalize")
        assert event.result is not None
        assert event.result.startswith(answer[:400])
        assert event.result.endswith(answer[-400:])
        assert f"{len(answer) - 800:,} of {len(answer):,} characters are left out" in event.result
