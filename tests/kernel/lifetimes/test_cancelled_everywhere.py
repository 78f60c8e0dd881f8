"""Each tool's call, cancelled at its n-th await for every n as the SDK cancels one, leaves nothing behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.cancelling import call_tool, cancelled_at, counted_tasks, held_by
from tests.parts import ROOT
from tests.sessions import SessionDriver, open_registry

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Call = Callable[[], Coroutine[Any, Any, Any]]
POINTS_MAX: Final = 200
"""No call has as many; a loop that comes here does not end."""


@asynccontextmanager
async def server(tmp_path: Path, *, spare: bool = False) -> AsyncIterator[Registry]:
    """A registry that has opened and ended a session, so that all that stays for good is there."""
    policy = {"pool": {"spare_kernels": int(spare)}}
    async with open_registry(tmp_path / "state", policy=policy, RLM_CONTEXT_ROOTS=str(tmp_path)) as opened:
        await (await SessionDriver.open(opened)).finalize(text="warm")
        with counted_tasks():
            yield opened


async def at_every_await(name: str, call: Call, after: Callable[[int, bool], Awaitable[None]]) -> int:
    """Cancel a call at each of its awaits, until it completes; `after` is told of each. Their number."""
    for nth in range(1, POINTS_MAX):
        reached, cut_off = await cancelled_at(nth, call)
        await after(nth, cut_off)
        if reached < nth:
            print(f"{name}: {nth - 1} awaits")
            return nth - 1
    raise AssertionError(f"{name} has more than {POINTS_MAX} awaits")


@pytest.mark.parametrize("given", ["text", "paths", "spare"])
async def test_a_session_whose_opening_is_cancelled_leaves_nothing(tmp_path: Path, given: str) -> None:
    """Neither directory, lock, place, kernel, process, descriptor, row nor context, wherever it is cut off."""
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name * 1_000, encoding="utf-8")
    context = {"context_paths": [str(tmp_path / "*.txt")]} if given == "paths" else {"context_text": "some text"}
    async with server(tmp_path, spare=given == "spare") as opened:
        before = await held_by(opened)
        answers: list[dict[str, Any]] = []

        async def call() -> None:
            answers.append(await call_tool(opened, "rlm_init_context", **context))

        async def after(nth: int, cut_off: bool) -> None:
            nonlocal before
            held = await held_by(opened)
            if cut_off:
                assert held == before, f"cancelled at await {nth}"
            else:  # its session is there; the await was of the next spare kernel's start, which goes on
                before = held

        count = await at_every_await(f"rlm_init_context ({given})", call, after)
        assert count > {"text": 20, "paths": 15, "spare": 5}[given]
        assert (await SessionDriver(opened, answers[-1]["data"]["session_id"]).ok("len(context)")).status == "ok"


def test_without_the_shield_something_is_left(tmp_path: Path) -> None:
    """The control: clean-up that awaits where it stands is cut off, and the look of these tests sees it."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.kernel.lifetimes.without_shield", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    print(f"without the shield something is left at {done.stdout.strip()} of the last awaits")
    assert int(done.stdout) > 2, done.stderr[-2_000:]


async def test_a_cancelled_call_on_a_session_leaves_it_as_it_was(tmp_path: Path) -> None:
    """A step and the wait for it, an interrupt, a read, the trace, the list: no more is held, and the session works."""
    async with server(tmp_path) as opened:
        driver = await SessionDriver.open(opened)
        await driver.ok("import time\nn, large = 0, 'y' * 5_000_000")
        before, given = await held_by(opened), {"session_id": driver.session_id}

        async def step_and_wait() -> None:
            answer = await call_tool(opened, "rlm_run_repl", **given, code="time.sleep(0.005); n += 1", wait_ms=0)
            await call_tool(opened, "rlm_await_step", **given, step_index=answer["data"]["step_index"])

        async def interrupted() -> None:
            await call_tool(opened, "rlm_run_repl", **given, code="while True: pass", wait_ms=0)
            await call_tool(opened, "rlm_interrupt", **given)

        calls: dict[str, Call] = {
            "rlm_run_repl and rlm_await_step": step_and_wait,
            "rlm_interrupt": interrupted,
            "rlm_get_var": lambda: call_tool(opened, "rlm_get_var", **given, var_name="large"),
            "rlm_get_trace": lambda: call_tool(opened, "rlm_get_trace", **given, detail="full"),
            "rlm_list_sessions": lambda: call_tool(opened, "rlm_list_sessions"),
        }

        async def after(nth: int, cut_off: bool) -> None:
            if driver.session.running:
                await driver.interrupt()
            assert await held_by(opened) == before, f"cancelled at await {nth}"
            assert (await driver.ok("len(large)", wait_ms=60_000)).result == "5000000" or cut_off

        for name, call in calls.items():
            assert await at_every_await(name, call, after) > 0


@pytest.mark.parametrize("answer", ["text", "variable"])
async def test_a_cancelled_finalize_has_no_part_done(tmp_path: Path, answer: str) -> None:
    """The session goes on, or it has its answer and nothing is held; the same call again is answered either way."""
    given = {"final_text": "done"} if answer == "text" else {"final_var_name": "large"}
    async with server(tmp_path) as opened:
        before = await held_by(opened)
        sessions: list[SessionDriver] = []

        async def begin() -> None:
            sessions.append(await SessionDriver.open(opened))
            await sessions[-1].ok("large = '\u20ac' * 2_000_000")  # more bytes than a message usually has

        async def after(nth: int, cut_off: bool) -> None:
            del cut_off
            now, driver = await held_by(opened), sessions[-1]
            record = opened.store.session(driver.session_id)
            assert record is not None
            assert (record.status == "finalized") is (now.kernels == 0), f"cancelled at await {nth}: {now}"
            if now.kernels:  # not committed: it works as before
                assert (await driver.ok("len(large)")).result == "2000000"
            again = await call_tool(opened, "rlm_finalize", session_id=driver.session_id, **given)
            assert again["ok"], again
            now = await held_by(opened)
            assert (now.directories, now.locks, now.slots, now.sessions) == (0, (), (), ())
            assert (now.processes, now.descriptors) == (before.processes, before.descriptors)
            assert list((opened.settings.state_dir / "snapshots").glob("*")) == []
            await begin()

        await begin()
        await at_every_await(
            f"rlm_finalize ({answer})",
            lambda: call_tool(opened, "rlm_finalize", session_id=sessions[-1].session_id, **given),
            after,
        )


async def test_a_cancelled_restore_takes_no_place(tmp_path: Path) -> None:
    """A read of a session that has no kernel, in this server and as another's: what it began to make is gone again."""
    (tmp_path / "a.txt").write_text("a" * 1_000, encoding="utf-8")
    (tmp_path / "b.txt").write_text("b" * 1_000, encoding="utf-8")
    async with server(tmp_path) as opened:
        answer = await call_tool(opened, "rlm_init_context", context_paths=[str(tmp_path / "*.txt")])
        driver = SessionDriver(opened, answer["data"]["session_id"])
        await driver.ok("x = 'kept'")
        await driver.session.stop_kernel("a test")
        opened.handles.let_go(driver.session)  # as if another server had had it
        before, read = await held_by(opened), ""

        async def call() -> None:
            nonlocal read
            answer = await call_tool(opened, "rlm_get_var", session_id=driver.session_id, var_name="x")
            read = answer["data"]["value"]

        async def after(nth: int, cut_off: bool) -> None:
            if cut_off:
                now = await held_by(opened)
                if now.kernels:
                    await driver.session.stop_kernel("a test")
                if driver.session_id in now.sessions:
                    opened.handles.let_go(driver.session)
                assert await held_by(opened) == before, f"cancelled at await {nth}"
            await asyncio.sleep(0)

        assert await at_every_await("a restore for rlm_get_var", call, after) > 20
        assert read == "kept"
