"""Guardrails, the budget and the memory limit over real kernels: what stops, what still works, what is said."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import SessionFinalized
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import StepReport
from tests.sessions import AMPLE, SessionDriver, open_registry

pytestmark = pytest.mark.anyio


async def _stopped(session: SessionDriver, stop: str) -> None:
    """Nothing runs any more; values, trace and the final answer can still be had."""
    steps = session.session.counters.step_index
    report = await session.run("after = 1")
    assert (report.status, report.guardrail_stop, report.stdout) == ("stopped", stop, "")
    assert session.session.counters.step_index == steps
    assert await session.value("kept") == "best so far"
    assert len(await session.trace("summary")) > steps
    final = await session.finalize(var="kept")
    assert (final.final_answer, final.finish_reason) == ("best so far", stop)


async def test_the_step_that_reaches_max_steps_says_so_and_no_other_runs(registry: Registry) -> None:
    """Failed steps count too."""
    session = await SessionDriver.open(registry, limits=replace(AMPLE, max_steps=2))
    assert (await session.ok("kept = 'best so far'")).guardrail_stop is None
    report = await session.run("1 / 0")
    assert (report.status, report.guardrail_stop, report.budget.steps_left) == ("error", "max_steps", 0)
    await _stopped(session, "max_steps")


async def test_a_step_is_interrupted_when_the_sessions_runtime_is_used_up(registry: Registry) -> None:
    """Also where its own timeout is longer; the kernel lives on, so that values can be read."""
    session = await SessionDriver.open(registry, limits=replace(AMPLE, max_runtime_ms=400))
    await registry.add_context(session.session_id, Given(text="best so far"), Options("kept"))  # which costs none of it
    report = await session.run("while True: len('')", timeout_ms=60_000)
    assert (report.status, report.guardrail_stop, report.budget.runtime_left_ms) == ("timeout", "timeout", 0)
    assert report.lost is None
    await _stopped(session, "timeout")


async def test_waiting_between_steps_is_not_runtime(registry: Registry) -> None:
    """Only the time in which a step executes counts."""
    session = await SessionDriver.open(registry, limits=replace(AMPLE, max_runtime_ms=60_000))
    first = await session.ok("1")
    second = await session.ok("2")
    used = session.session.counters.runtime_ms
    assert used == first.duration_ms + second.duration_ms


async def test_no_reply_ever_delivers_more_than_the_budget_has_left(registry: Registry) -> None:
    """Stdout, stderr, result, error and traceback together; the rest stays in the trace for a person."""
    session = await SessionDriver.open(registry, limits=replace(AMPLE, budget_limit=3_000))
    await session.ok("kept = 'best so far'")
    left = session.session.account.left.chars_left
    code = "import warnings\nprint('o' * 5000)\nwarnings.warn('e' * 5000)\nraise ValueError('v' * 5000)"
    report = await session.run(code)
    assert _delivered(report) <= left - len(code)
    assert report.guardrail_stop == "budget_exceeded"
    used = session.session.counters.budget_used
    step, stop = (await session.trace())[-2:]
    assert (step.stdout, stop.action) == ("o" * 5000 + "\n", "stop")
    assert session.session.counters.budget_used == used  # reading back is charged to nothing
    await _stopped(session, "budget_exceeded")


def _delivered(report: StepReport) -> int:
    texts = [report.stdout, report.stderr, report.result or ""]
    if report.error is not None:
        texts += [report.error.ename, report.error.evalue, report.error.traceback]
    return sum(map(len, texts))


@pytest.mark.parametrize("left", [0, 1, 7, 399, 401, 1000])
async def test_however_little_is_left_no_reply_passes_it(registry: Registry, left: int) -> None:
    """Down to the last character; a reply that is cut says how much was cut."""
    code = "print('o' * 2000)\nraise ValueError('\\x1b' * 2000)"
    session = await SessionDriver.open(registry, limits=replace(AMPLE, budget_limit=len(code) + left))
    report = await session.run(code)
    assert _delivered(report) <= left
    assert report.truncated.stdout + len(report.stdout) >= 2000


async def test_code_longer_than_the_budget_is_not_run(registry: Registry) -> None:
    """It would be charged more than there is."""
    session = await SessionDriver.open(registry, limits=replace(AMPLE, budget_limit=100))
    await session.ok("kept = 'best so far'")
    report = await session.run("ran = 1\n" * 20)
    assert (report.status, report.guardrail_stop) == ("stopped", "budget_exceeded")
    await _stopped(session, "budget_exceeded")


async def test_a_final_answer_is_given_once(session: SessionDriver) -> None:
    """The same call again gives the same answer, another is refused, and so is a step; the trace can be read."""
    await session.ok("answer = 'forty-two \\u2603'")
    kernel = session.kernel
    first = await session.finalize(var="answer")
    assert first.final_answer == "forty-two \u2603"
    assert (first.finish_reason, first.stats.steps) == ("completed", 1)
    assert await session.finalize(var="answer") == first
    with pytest.raises(SessionFinalized):
        await session.finalize(text="another")
    with pytest.raises(SessionFinalized):
        await session.run("1")
    assert (await session.trace("summary"))[-1].action == "finalize"
    assert kernel.dead.done()


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("'a' * 300_000", "a" * 300_000),
        ("{'a': [1, 2.5, None, True]}", '{"a": [1, 2.5, null, true]}'),
        ("'\\ud800 lone'", "\\ud800 lone"),
        ("''", ""),
        ("object", "<class 'object'>"),
    ],
    ids=["long", "json", "surrogate", "empty", "object"],
)
async def test_a_final_answer_is_the_variables_whole_text(registry: Registry, value: str, answer: str) -> None:
    """Of a `str` the text itself, of anything else its text as `rlm_get_var` shows it."""
    session = await SessionDriver.open(registry)
    await session.ok(f"answer = {value}")
    final = await registry.finalize(
        session.session_id, final_text=None, final_var_name="answer", max_output_chars=1_000_000
    )
    assert final.final_answer.replace(" ", "") == answer.replace(" ", "")


@pytest.fixture(scope="module")
async def small_registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """A registry whose kernels may take 96 MB each."""
    state = tmp_path_factory.mktemp("state")
    async with open_registry(state, RLM_MEMORY_LIMIT_MB="96", RLM_IMPORT_POLICY="any") as opened:
        yield opened


@pytest.fixture(scope="module")
async def small(small_registry: Registry) -> SessionDriver:
    return await SessionDriver.open(small_registry, "the context")


BOMBS = {
    "one large object": "b = bytearray(3 * 10 ** 9)",
    "a large text": "s = 'x' * 3 * 10 ** 9",
    "a large number": "n = 1 << (8 * 10 ** 9)",
    "a growing list": "l = []\nwhile True: l.append(bytearray(10 ** 6))",
    "small objects": "l = [0]\nwhile True: l.append([l[-1:]])",
    "a dict": "d = {}\nwhile True: d[len(d)] = str(len(d))",
    "nested lists": "l = []\nwhile True: l = [l, l[:]]",
    "a private map": "import mmap\nm = mmap.mmap(-1, 3 * 10 ** 9, flags=mmap.MAP_PRIVATE)\nm[0] = 1",
    "a shared map": "import mmap\nm = mmap.mmap(-1, 2 * 10 ** 9)\nfor at in range(0, len(m), 4096): m[at] = 1",
    "many shared maps": (
        "import mmap\nl = []\nwhile True:\n    m = mmap.mmap(-1, 1 << 22)\n    l.append(m)\n"
        "    for at in range(0, len(m), 4096): m[at] = 1"
    ),
    "a text that doubles": "s = 'x'\nwhile True: s += s",
    "a huge repr": "x = ['y' * 10 ** 6] * 10 ** 4\nrepr(x)",
    "a sorted copy": "import itertools\nsorted(itertools.count())",
}


SLOW = ("small objects", "nested lists", "a dict")
"""By many small pieces: the others are as much of a bomb, and `tests/escape/bombs` has such ones too."""


@pytest.mark.parametrize(
    "code", [pytest.param(BOMBS[name], id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BOMBS]
)
async def test_a_memory_bomb_is_an_error_of_its_step(small: SessionDriver, code: str) -> None:
    """And its kernel lives on: the next step runs and the context is there."""
    await small.ok("kept = 1")
    report = await small.run(code)
    assert report.error is not None
    # A map that the system refuses is an OSError of its own.
    assert report.error.ename == "MemoryError" or "Cannot allocate memory" in report.error.evalue
    assert report.lost is None
    again = await small.ok("b = s = n = l = d = m = x = None\ncontext")
    assert again.result == "'the context'"
    assert again.lost is None


async def test_a_step_may_use_what_the_limit_allows(small_registry: Registry) -> None:
    """The limit is on the session's own data, beyond what the bare kernel takes."""
    session = await SessionDriver.open(small_registry)
    assert (await session.ok("b = bytearray(60 * 10 ** 6)\nlen(b)")).result == "60000000"


@pytest.mark.slow
async def test_a_step_that_swallows_its_memory_error_for_ever_is_killed(small: SessionDriver) -> None:
    """Past the hard limit nothing is asked any more. Unless it is told just outside its own `try`: that ends it."""
    report = await small.run(
        "l = []\nwhile True:\n    try:\n        while True: l.append(bytearray(10 ** 5))\n    except MemoryError: pass",
        timeout_ms=3_000,
    )
    told = report.error is not None and report.error.ename == "MemoryError"
    assert report.status in ("kernel_died", "timeout") or (report.status == "error" and told)
    assert (await small.ok("context")).result == "'the context'"


@pytest.mark.parametrize("code", ["bytearray(3_000_000_000)", "[1] * 600_000_000", "s = 'x' * 50_000_000\n(s + s) * 9"])
async def test_a_memory_error_says_which_limit_it_is_and_what_to_do(small: SessionDriver, code: str) -> None:
    """Python's own has no words."""
    report = await small.run(code)
    assert report.error is not None
    words = "the session's memory limit of 96 MB is reached; `del` the largest names, or do less at a time"
    assert report.error.evalue == words
    assert report.error.traceback.endswith(f"MemoryError: {report.error.evalue}")


async def test_a_memory_error_of_the_parser_is_not_called_the_session_s(small_registry: Registry) -> None:
    """A step that is nested too deep to be parsed has all its memory left."""
    report = await (await SessionDriver.open(small_registry)).run("-" * 20_000 + "1")
    assert report.error is not None
    assert (report.error.ename, "memory limit" in report.error.evalue) == ("MemoryError", False)


async def test_a_step_that_is_told_of_its_memory_outside_its_own_try_ends_with_a_memory_error(
    small: SessionDriver,
) -> None:
    """The host tells it by a signal; here only the jump back of the outer loop is where Python takes one."""
    begun = await small.begin(
        "print('on')\nwhile True:\n    try:\n        bytearray(10 ** 12)\n    except MemoryError: pass",
        timeout_ms=50_000,
    )
    await small.until_printed("on")
    small.kernel.process.send_signal(signal.SIGUSR1)
    report = await small.end_of(begun.step_index)
    assert (report.status, report.lost) == ("error", None)
    assert report.error is not None
    assert report.error.ename == "MemoryError"
    assert report.error.evalue.startswith("the session's memory limit of ")
    assert (await small.ok("context")).result == "'the context'"


async def test_a_step_that_lowers_its_own_hard_limit_of_memory_costs_its_kernel_and_no_later_step(
    tmp_path: Path,
) -> None:
    """Nothing could raise it again: every later step would end without a reply."""
    async with open_registry(tmp_path / "state", RLM_IMPORT_POLICY="any") as registry:
        session = await SessionDriver.open(registry, limits=AMPLE)
        await session.ok("kept = 'there'")
        report = await session.run("import resource; resource.setrlimit(resource.RLIMIT_AS, (100 << 20, 100 << 20))")
        assert (report.status, report.lost is not None) == ("kernel_died", True)
        assert (await session.ok("kept")).result == "'there'"
