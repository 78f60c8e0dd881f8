"""Whatever ends a step, or its kernel, ends what it asks: at once, and with nothing left behind."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Final

import pytest

from rlm_kernel_mcp.session.answering.questions import Answered, Failed
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.asking.conftest import Pair, answered_by
from tests.kernel.asking.scripted import ScriptedBoard, nothing
from tests.sessions import AMPLE, SessionDriver, end_session, until

pytestmark = pytest.mark.anyio
IN_THREADS: Final = """
import threading
texts = list(map(str, range(100)))
threads = [threading.Thread(target=llm_query_batched, args=("p", texts)) for _ in range(5)]
for one in threads: one.start()
for one in threads: one.join()
"""
IN_A_POOL: Final = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(5) as pool:
    list(pool.map(lambda _: llm_query_batched("p", list(map(str, range(100)))), range(20)))
"""
IN_NESTED_THREADS: Final = """
import threading
def ask(depth):
    below = [threading.Thread(target=ask, args=(depth - 1,)) for _ in range(2)] if depth else []
    for one in below: one.start()
    llm_query_batched("p", list(map(str, range(20))))
    for one in below: one.join()
ask(4)
"""
BEHIND_THE_STEP: Final = """
import threading
threading.Thread(target=llm_query_batched, args=("p", list(map(str, range(500)))), daemon=True).start()
threading.Event().wait()
"""
WAITS: Final = {
    "a loop": ("for n in range(500): llm_query(str(n))", 1),
    "a batch": ("llm_query_batched('p', list(map(str, range(500))))", 500),
    "threads": (IN_THREADS, 500),
    "a pool": (IN_A_POOL, 500),
    "nested threads": (IN_NESTED_THREADS, 31 * 20),
    "a thread behind a step that waits for something else": (BEHIND_THE_STEP, 500),
    "tasks": ("import asyncio\nawait asyncio.gather(*(llm_query_async(str(n)) for n in range(500)))", 500),
}


@pytest.mark.parametrize(("code", "count"), WAITS.values(), ids=WAITS.keys())
async def test_an_interrupt_ends_what_waits(pair: Pair, code: str, count: int) -> None:
    """In the main thread, in others and in tasks. The kernel lives, and nobody works for it any more."""
    pair.answers.rule = nothing
    await pair.session.begin(code)
    await pair.answers.until_open(count)
    report = await pair.session.interrupt()
    assert (report.status, report.lost) == ("interrupted", None)
    assert report.subcalls is not None
    assert (report.subcalls.asked, report.subcalls.answered, report.subcalls.failed) == (count, 0, {"stopped": count})
    await until(lambda: pair.answers.open == {})
    assert (await pair.session.ok("1 + 1")).result == "2"


async def test_a_step_s_deadline_ends_a_loop_beside_a_question(pair: Pair) -> None:
    """Waiting is free, and work is not: the loop is stopped at its limit although a question is open all the time."""
    pair.answers.rule = nothing
    code = "import threading\nthreading.Thread(target=llm_query, args=('p',), daemon=True).start()\nwhile True: pass"
    report = await pair.session.run(code, timeout_ms=400)
    assert (report.status, report.lost, pair.answers.open) == ("timeout", None, {})


async def test_waiting_is_not_charged(pair: Pair) -> None:
    """The step's clock is paused from the question to its answer."""
    pair.answers.rule = nothing
    index = (await pair.session.begin("x = llm_query('p')")).step_index
    await pair.answers.until_open(1)
    step = pair.session.session._running
    assert step is not None
    assert step.clock is not None
    was_paused = step.clock.is_paused
    (number,) = pair.answers.open
    pair.answers.answer(number, Answered("late"))
    assert (was_paused, step.clock.is_paused) == (True, False)
    assert (await pair.session.end_of(index)).status == "ok"
    assert (await pair.session.ok("x")).result == "'late'"


async def test_a_step_waits_no_longer_than_it_may(asking_registry: Registry) -> None:
    """What is open fails then, and so does what it asks after that; its code goes on, and the next step may wait."""
    board = ScriptedBoard()
    with answered_by(asking_registry, board):
        session = await SessionDriver.open(asking_registry, limits=replace(AMPLE, wait_limit_ms=50))
    answers = board.of[session.session_id]
    answers.rule = nothing
    report = await session.ok("[llm_query_batched([one])[0].code for one in 'pq']")
    assert report.result == "['timeout', 'timeout']"
    assert report.subcalls is not None
    assert (report.subcalls.asked, report.subcalls.failed) == (2, {"timeout": 2})
    assert report.subcalls.waited_ms >= 50
    assert report.note == "2 of 2 sub-calls failed: timeout 2."
    report = await session.ok("llm_query_batched(['p'])[0].message")
    assert "which is its limit (wait_limit_ms)" in (report.result or "")
    await end_session(session)


async def test_a_thread_that_outlives_its_step_asks_nothing(pair: Pair) -> None:
    """What it has asked is stopped at the step's end, and what it asks later is not passed on, in a later step too."""
    pair.answers.rule = nothing
    code = """
import threading
said, begun, go_on = [], threading.Event(), threading.Event()
def ask():
    for _ in range(2):
        begun.set()
        try: llm_query('late')
        except SubcallError as error: said.append(error.code)
        go_on.wait()
thread = threading.Thread(target=ask, daemon=True); thread.start()
"""
    await pair.session.ok(code)
    asked = len(pair.answers.asked)
    assert (await pair.session.ok("go_on.set(); thread.join(); said")).result == "['stopped', 'stopped']"
    assert len(pair.answers.asked) == asked
    assert pair.answers.open == {}


async def test_after_a_kernel_s_end_the_next_one_has_a_channel(pair: Pair) -> None:
    """With the names, which are told as neither lost nor restored; the values that answers made are there again."""
    await pair.session.ok("x = llm_query('p')")
    await pair.session.session.kernel.recovery.snapshots.settle()
    pair.answers.rule = nothing
    index = (await pair.session.begin("llm_query('q')")).step_index
    await pair.answers.until_open(1)
    pair.session.kernel.process.kill()
    report = await pair.session.end_of(index)
    assert report.status == "kernel_died"
    assert report.lost is not None
    assert (report.lost.names, report.lost.restored) == ((), ("context", "documents", "scratch", "x"))
    assert pair.answers.open == {}
    pair.answers.rule = lambda one: Answered(one.prompt)
    assert (await pair.session.ok("x, llm_query('r')")).result == "('p|None', 'r')"


async def test_failed_answers_are_kept_like_other_values(pair: Pair) -> None:
    """They come back into a fresh kernel as what they are: falsy, and caught by their name."""
    pair.answers.rule = lambda one: Failed("declined", "no") if one.text == "b" else Answered("yes")
    await pair.session.ok("got = llm_query_batched('p', ['a', 'b'])")
    await pair.session.session.kernel.recovery.snapshots.settle()
    await pair.session.kernel.kill("a test has ended it")
    code = "[str(one) for one in got], [isinstance(one, SubcallError) for one in got], [bool(one) for one in got]"
    expected = "(['yes', 'declined: no'], [False, True], [True, False])"
    assert (await pair.session.run(code)).result == expected


async def test_a_step_that_has_ended_is_let_go_with_its_output_and_not_at_the_next_collection(pair: Pair) -> None:
    """What it has printed may be 45 MB, and the collector looks at old objects seldom."""
    await pair.session.ok("1")
    gc.disable()
    try:
        report = await pair.session.begin("input_ = llm_query('p')")
        running = pair.session.session._running
        assert running is not None
        step = weakref.ref(running.finished)
        del running
        assert (await pair.session.end_of(report.step_index)).status == "ok"
        await pair.session.ok("2")
        await until(lambda: step() is None)
    finally:
        gc.enable()
