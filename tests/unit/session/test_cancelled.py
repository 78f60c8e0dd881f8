"""A call that is cancelled at its n-th await, for every n, over kernels that are not processes.

Is: the session layer's own clean-up, in less than a second. Is not: a start, or a process (`tests/kernel/lifetimes/
test_cancelled_everywhere.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import pytest

from rlm_kernel_mcp.session import finalize
from tests.cancelling import call_tool, cancelled_at, counted_tasks, held_by
from tests.fake_kernel import FOREVER, Fakes
from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio
POINTS_MAX: Final = 200
"""No call has as many; a loop that comes here does not end."""


async def at_every_await(
    call: Callable[[], Coroutine[Any, Any, Any]], after: Callable[[int, bool], Awaitable[None]]
) -> int:
    """Cancel a call at each of its awaits, until it completes; `after` is told of each. Their number."""
    for nth in range(1, POINTS_MAX):
        with counted_tasks():
            reached, cut_off = await cancelled_at(nth, call)
        await after(nth, cut_off)
        if reached < nth:
            return nth - 1
    raise AssertionError(f"more than {POINTS_MAX} awaits")


async def test_an_opening_leaves_nothing(fakes: Fakes) -> None:
    """No directory, lock, place, session, row or context, and no kernel alive."""
    await (await fakes.open())[0].finalize(text="warm")
    before, answers, alive = await held_by(fakes.registry), list[Any](), list[Any]()

    async def call() -> None:
        answers.append(await call_tool(fakes.registry, "rlm_init_context", context_text="some text"))

    async def after(nth: int, cut_off: bool) -> None:
        nonlocal before
        held = await held_by(fakes.registry)
        if cut_off:
            assert held == before, f"cancelled at await {nth}"
            assert [kernel for kernel in fakes.kernels if kernel.process.returncode is None] == alive
        else:  # its session is there; the await was of the kernel's way to ask, which is given while nobody waits
            before = held
            alive[:] = [kernel for kernel in fakes.kernels if kernel.process.returncode is None]

    assert await at_every_await(call, after) > 5
    session = SessionDriver(fakes.registry, answers[-1]["data"]["session_id"])
    assert (await session.ok("context")).result == "'some text'"


async def test_a_step_and_its_interrupt_leave_the_session_as_it_was(fakes: Fakes) -> None:
    """No more is held, and the session works in the same kernel."""
    session, _ = await fakes.open()
    await session.ok("n = 0")
    before, given = await held_by(fakes.registry), {"session_id": session.session_id}

    async def step() -> None:
        answer = await call_tool(fakes.registry, "rlm_run_repl", **given, code="n = n + 1", wait_ms=0)
        await call_tool(fakes.registry, "rlm_await_step", **given, step_index=answer["data"]["step_index"])

    async def interrupted() -> None:
        await call_tool(fakes.registry, "rlm_run_repl", **given, code=FOREVER, wait_ms=0)
        await call_tool(fakes.registry, "rlm_interrupt", **given)

    async def after(nth: int, cut_off: bool) -> None:
        del cut_off
        if session.session.running:
            await session.interrupt()
        assert await held_by(fakes.registry) == before, f"cancelled at await {nth}"

    for call in (step, interrupted):
        assert await at_every_await(call, after) > 3
    assert await session.value("n") > 1
    assert len(fakes.kernels) == 1


@pytest.mark.parametrize(
    ("answer", "in_pages"),
    [({"final_text": "done"}, 0), ({"final_var_name": "x"}, 0), ({"final_var_name": "x"}, 1)],
    ids=["a text", "a variable", "a long one"],
)
async def test_a_finalize_has_no_part_done(
    fakes: Fakes, answer: dict[str, str], in_pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session goes on, or it has its answer; the same call again is answered, and then nothing is held."""
    await (await fakes.open())[0].finalize(text="warm")
    if in_pages:
        monkeypatch.setattr(finalize, "ANSWER_CHARS_MAX", len("done") - 1)
    before, sessions = await held_by(fakes.registry), list[SessionDriver]()

    async def begin() -> None:
        sessions.append((await fakes.open())[0])
        await sessions[-1].ok("x = 'done'")

    def pages() -> int:
        query = "SELECT count(*) FROM answer_pages WHERE session_id = ?"
        ((count,),) = fakes.registry.store._database.read(query, (sessions[-1].session_id,))
        return int(count)

    async def call() -> None:
        await call_tool(fakes.registry, "rlm_finalize", session_id=sessions[-1].session_id, **answer)

    async def after(nth: int, cut_off: bool) -> None:
        del cut_off
        now, session = await held_by(fakes.registry), sessions[-1]
        if now.kernels:
            assert (await session.ok("x")).result == "'done'", f"cancelled at await {nth}"
            assert pages() == 0, f"cancelled at await {nth}"
        again = await call_tool(fakes.registry, "rlm_finalize", session_id=session.session_id, **answer)
        assert again["data"]["final_answer"] == "done", f"cancelled at await {nth}: {again}"
        assert pages() == in_pages, f"cancelled at await {nth}"
        now = await held_by(fakes.registry)
        assert (now.directories, now.locks, now.slots, now.sessions) == (0, (), (), ())
        assert now.descriptors == before.descriptors
        await begin()

    await begin()
    assert await at_every_await(call, after) > 3


async def test_a_restore_takes_no_place(one_place: Fakes) -> None:
    """A read of a session without a kernel: what it began to make is gone again, and the next read has the value."""
    session, _ = await one_place.open()
    await session.ok("x = 1")
    await session.session.stop_kernel("a test")
    before = await held_by(one_place.registry)

    async def call() -> None:
        await call_tool(one_place.registry, "rlm_get_var", session_id=session.session_id, var_name="x")

    async def after(nth: int, cut_off: bool) -> None:
        if cut_off:
            if session.session.has_kernel:
                await session.session.stop_kernel("a test")
            assert await held_by(one_place.registry) == before, f"cancelled at await {nth}"

    assert await at_every_await(call, after) > 10
    assert await session.value("x") == 1
