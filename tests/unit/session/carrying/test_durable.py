"""Each answer waits until others can have what it tells, where somebody sees to that, and says what they cannot have.

With kernels that are not processes, and somebody who is told by the test how long it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import SessionBusy, SessionMoved, SessionNotFound
from rlm_kernel_mcp.session.carrying.durable import Progress
from rlm_kernel_mcp.session.carrying.moving import Moves
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.session import Session
from tests.fake_kernel import DIES, FOREVER, Fakes, fake_registry
from tests.sessions import SessionDriver, until

pytestmark = pytest.mark.anyio


@dataclass
class Elsewhere:
    """`Durable`: whether it takes what it is given is the test's to say."""

    told: list[tuple[str, int]] = field(default_factory=list)
    """What it was told, with the session's last step."""
    names: tuple[str, ...] = ()
    error: Exception | None = None
    moved: set[str] = field(default_factory=set)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    waits: int = 0
    moves: Moves[Session] | None = None
    """The registry's."""

    def require(self, session_id: str) -> None:
        if session_id in self.moved:
            raise SessionMoved(f"Session {session_id} has moved.")

    def begun(self, session_id: str) -> None:
        assert session_id
        self.told.append(("begun", 0))

    async def opened(self, progress: Progress) -> None:
        await self._take("opened", progress)

    async def released(self, progress: Progress) -> None:
        await self._take("released", progress)

    async def kept(self, progress: Progress) -> tuple[str, ...]:
        await self._take("kept", progress)
        return self.names

    async def _take(self, what: str, progress: Progress) -> None:
        self.told.append((what, progress.step))
        self.waits += 1
        try:
            await self.free.wait()
        finally:
            self.waits -= 1
        if self.error is not None:
            raise self.error
        if progress.session_id in self.moved and self.moves is not None:
            await self.moves.taken_over(progress.session_id)
        self.require(progress.session_id)


@pytest.fixture
def elsewhere() -> Elsewhere:
    """It takes all at once, until the test says otherwise."""
    made = Elsewhere()
    made.free.set()
    return made


@pytest.fixture
async def kept(tmp_path: Path, elsewhere: Elsewhere) -> AsyncIterator[Fakes]:
    """A registry whose answers wait for it."""
    async with fake_registry(tmp_path, elsewhere) as opened:
        elsewhere.moves = opened.registry.handles.moves
        yield opened
        elsewhere.free.set()


async def test_a_step_is_told_when_others_can_have_it(kept: Fakes, elsewhere: Elsewhere) -> None:
    """Not before; and that it begins is told before its code runs, without a wait."""
    session, _ = await kept.open()
    elsewhere.free.clear()
    step = asyncio.create_task(session.ok("x = 1"))
    await until(lambda: elsewhere.waits == 1)
    assert not step.done()
    assert elsewhere.told == [("opened", 0), ("begun", 0), ("kept", 1)]
    elsewhere.free.set()
    assert (await step).not_durable == ()


async def test_what_others_cannot_have_yet_is_named(kept: Fakes, elsewhere: Elsewhere) -> None:
    """In the report of the step, and in the same report of whoever asks for it again."""
    session, _ = await kept.open()
    elsewhere.names = ("large",)
    assert (await session.ok("large = 1")).not_durable == ("large",)
    assert (await session.end_of(1)).not_durable == ("large",)
    elsewhere.names = ()
    assert (await session.end_of(1)).not_durable == ()


async def test_names_are_shown_safe_and_within_bounds(kept: Fakes, elsewhere: Elsewhere) -> None:
    """They are the code's choice; those that are too many are counted."""
    session, _ = await kept.open()
    elsewhere.names = ("\x1b[31m", *(f"name_{n:04}" for n in range(1_000)))
    report = await session.ok("x = 1")
    assert "\x1b" not in "".join(report.not_durable)
    assert sum(map(len, report.not_durable)) <= 2_500
    assert report.note is not None
    assert report.note.endswith(f"{1_001 - len(report.not_durable)} more names are not durable yet.")


CALLS: dict[str, Callable[[SessionDriver], Awaitable[object]]] = {
    "a step": lambda session: session.ok("x = 2"),
    "a running step": lambda session: session.begin(FOREVER),
    "a step that ends its kernel": lambda session: session.run(DIES),
    "an ended step": lambda session: session.end_of(1),
    "an interrupt": lambda session: session.interrupt(),
    "a variable": lambda session: session.slice("x"),
    "a further context": lambda session: session.registry.add_context(
        session.session_id, Given("more", None), Options("more")
    ),
    "the final answer": lambda session: session.finalize(text="done"),
}


@pytest.mark.parametrize("call", CALLS)
async def test_no_answer_leaves_of_a_session_that_has_moved(kept: Fakes, elsewhere: Elsewhere, call: str) -> None:
    """Each call is answered SESSION_MOVED, its kernel is killed, and nothing of the session is left here."""
    session, kernel = await kept.open()
    await session.ok("x = 1")
    elsewhere.moved.add(session.session_id)
    with pytest.raises(SessionMoved):
        await CALLS[call](session)
    assert kernel.process.returncode is not None
    assert not kept.registry.has(session.session_id)
    with pytest.raises(SessionMoved):  # nor is it opened again from a record that is not its own any more
        await CALLS[call](session)
    elsewhere.moved.clear()
    with pytest.raises(SessionNotFound):
        await session.ok("x")


async def test_calls_that_wait_for_a_step_are_told_that_its_session_has_moved(
    kept: Fakes, elsewhere: Elsewhere
) -> None:
    """All of them, whichever finds out first; and the step that runs here ends with its kernel."""
    session, _ = await kept.open()
    await session.begin(FOREVER)
    waiting = [asyncio.create_task(session.end_of(1)) for _ in range(3)]
    elsewhere.moved.add(session.session_id)
    with pytest.raises(SessionMoved):
        await session.slice("context")
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in ended] == [SessionMoved] * 3


async def test_a_session_that_others_cannot_have_is_not_opened(kept: Fakes, elsewhere: Elsewhere) -> None:
    """Its kernel ends, and nobody has a handle to it."""
    elsewhere.error = SessionBusy("The shared store does not answer.")
    with pytest.raises(SessionBusy, match="shared store"):
        await kept.open()
    assert kept.registry.handles.sessions == {}
    assert [kernel.process.returncode is not None for kernel in kept.kernels] == [True]


async def test_a_step_whose_end_others_cannot_have_is_told_later(kept: Fakes, elsewhere: Elsewhere) -> None:
    """The call is answered with the reason; the session and the report stay."""
    session, _ = await kept.open()
    elsewhere.error = SessionBusy("The shared store does not answer.")
    with pytest.raises(SessionBusy, match="shared store"):
        await session.ok("x = 1")
    elsewhere.error = None
    assert (await session.end_of(1)).status == "ok"


async def test_a_session_is_let_go_when_others_can_have_all_of_it(kept: Fakes, elsewhere: Elsewhere) -> None:
    """It stays where it is meanwhile, and for good where they cannot."""
    session, kernel = await kept.open()
    await session.ok("x = 1")
    handles = kept.registry.handles
    elsewhere.error = SessionBusy("The shared store does not answer.")
    with pytest.raises(SessionBusy):
        await handles.hand_over(session.session_id, "it goes to another node")
    assert kept.registry.has(session.session_id)
    elsewhere.error = None
    elsewhere.free.clear()
    going = asyncio.create_task(handles.hand_over(session.session_id, "it goes to another node"))
    await until(lambda: elsewhere.waits == 1)
    assert kept.registry.has(session.session_id)
    elsewhere.free.set()
    await going
    assert not kept.registry.has(session.session_id)
    assert kernel.process.returncode is not None


async def test_a_session_that_is_used_while_it_is_let_go_stays(kept: Fakes, elsewhere: Elsewhere) -> None:
    """Whoever came meanwhile has it, and whoever wanted it elsewhere asks again."""
    session, _ = await kept.open()
    elsewhere.free.clear()
    going = asyncio.create_task(kept.registry.handles.hand_over(session.session_id, "it goes to another node"))
    await until(lambda: elsewhere.waits == 1)
    step = asyncio.create_task(session.ok("x = 1"))
    await until(lambda: elsewhere.waits == 2)
    elsewhere.free.set()
    with pytest.raises(SessionBusy, match="used again"):
        await going
    assert (await step).status == "ok"
    assert (await session.ok("x")).result == "1"


async def test_at_home_nothing_is_waited_for(fakes: Fakes) -> None:
    """A report names nothing, and has no place for it."""
    session, _ = await fakes.open()
    assert (await session.ok("x = 1")).not_durable == ()
