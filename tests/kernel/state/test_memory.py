"""The memory of a kernel is what its names hold: nothing of a step that failed is in the way of the next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import SessionDriver, open_registry

pytestmark = pytest.mark.anyio

LIMIT_MB = 512
SIZE = LIMIT_MB * 3 // 10 << 20
STEPS = Path(__file__).with_name("failing_steps.txt").read_text(encoding="utf-8").split("=====\n")
"""Each fails while it holds `SIZE` bytes that it never touches, and leaves no name, module or thread behind."""
ASK = "asked = bytes(int(most * 0.8))\ndel asked"


async def measure(session: SessionDriver) -> None:
    """Leave in `most` how many bytes a step can have at once, to 8 MB.

    A step a try: where the C library clears what it gives, the host warns of what is used at the very edge, and the
    error of that could come when a step that goes on has caught its own.
    """
    low, high = 0, 4 << 30
    while high - low > 8 << 20:
        middle = (low + high) // 2
        report = await session.run(f"bytes({middle}) and None")
        low, high = (middle, high) if report.status == "ok" else (low, middle)
    await session.ok(f"most = {low}")


@pytest.fixture(scope="module")
async def roomy_registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """A registry whose kernels may take `LIMIT_MB` each."""
    state = tmp_path_factory.mktemp("state")
    async with open_registry(state, RLM_MEMORY_LIMIT_MB=str(LIMIT_MB)) as registry:
        yield registry


@pytest.fixture
async def roomy(roomy_registry: Registry) -> SessionDriver:
    session = await SessionDriver.open(roomy_registry)
    await measure(session)
    return session


@pytest.mark.slow
async def test_steps_that_failed_in_every_way_leave_four_fifths_of_a_fresh_sessions_memory(
    roomy: SessionDriver,
) -> None:
    """More than 50 of them in a row, one of each kind."""
    assert len(STEPS) >= 50
    for step in STEPS:
        assert (await roomy.run(step.replace("SIZE", str(SIZE)))).status == "error", step
    await roomy.ok(ASK)


@pytest.mark.parametrize("limit_mb", [128, 256])
@pytest.mark.slow
async def test_the_same_holds_at_small_limits_also_after_small_pieces(tmp_path: Path, limit_mb: int) -> None:
    """Pieces below 128 KB come from the C library's arenas, of which the second reserves 64 MB at a time."""
    async with open_registry(tmp_path, RLM_MEMORY_LIMIT_MB=str(limit_mb)) as registry:
        session = await SessionDriver.open(registry)
        await measure(session)
        for step in STEPS:
            await session.run(step.replace("SIZE", str(limit_mb * 3 // 10 << 20)))
        await session.ok(ASK)
        for size in (600, 1_000, 5_000, 60_000):
            report = await session.run(f"[bytes({size}) for _ in range(10**9)]")
            assert report.error is not None, (size, report)
            assert report.error.ename == "MemoryError", (size, report)
            await session.ok(ASK)


@pytest.mark.slow
async def test_no_kind_of_failing_step_keeps_what_it_held(roomy: SessionDriver) -> None:
    """Each takes more than the fifth that may be missing after it."""
    for step in STEPS:
        await roomy.run(step.replace("SIZE", str(SIZE)))
        report = await roomy.run(ASK)
        assert report.status == "ok", (step, report.error)


async def test_a_step_that_was_interrupted_leaves_nothing_behind(roomy: SessionDriver) -> None:
    """At its deadline, in plain code and in an await."""
    for body in ("    while True: len(a)", "    await asyncio.sleep(60)"):
        code = f"import asyncio\nasync def f():\n    a = bytes({SIZE})\n{body}\nawait f()"
        for _ in range(4):
            assert (await roomy.run(code, timeout_ms=50)).status == "timeout"
        await roomy.ok(ASK)


async def test_errors_that_hold_their_frames_do_not_use_up_a_session(session: SessionDriver) -> None:
    """As reported: 300 MB in the frame of an error that was caught, six times, in a session of 1 GB."""
    await session.ok(
        "def f():\n    a = bytes(300 * 2**20); raise Exception('x')\n"
        "def g():\n    try: f()\n    except Exception as e: raise ValueError('y') from e"
    )
    for _ in range(6):
        report = await session.run("g()")
        assert report.error is not None
        assert report.error.ename == "ValueError"
    assert (await session.ok("y = [0] * (20 * 2**20); len(y)")).result == "20971520"


async def test_garbage_of_steps_that_ended_well_is_collected_once_it_takes_half(roomy: SessionDriver) -> None:
    """Nothing looks for it below that."""
    circle = f"def f():\n    a = [bytes({LIMIT_MB * 55 // 100 << 20})]; a.append(a)\nf()"
    for _ in range(4):
        await roomy.ok(circle)
    await roomy.ok(ASK)


async def test_what_a_name_holds_stays(roomy: SessionDriver) -> None:
    """Also an exception with its frames, and what a context variable holds that has a name."""
    await roomy.ok(
        "import contextvars\nvariable = contextvars.ContextVar('variable')\n"
        "def f():\n    local = 'in the frame'; 1 / 0\n"
    )
    report = await roomy.run("variable.set('kept')\ntry: f()\nexcept Exception as e: kept = e\n'shown'\n1 / 0")
    assert report.status == "error"
    await roomy.run("2 / 0")
    got = await roomy.ok("(variable.get(), type(kept).__name__, kept.__traceback__.tb_next is not None)")
    assert got.result == "('kept', 'ZeroDivisionError', True)"


async def test_a_context_variable_is_state_also_where_a_step_awaits(roomy: SessionDriver) -> None:
    """The task of such a step has a context of its own."""
    await roomy.ok("import asyncio, contextvars\nv = contextvars.ContextVar('v')\nv.set(1)")
    await roomy.ok("await asyncio.sleep(0)\nv.set(v.get() + 1)")
    assert (await roomy.ok("v.get()")).result == "2"
