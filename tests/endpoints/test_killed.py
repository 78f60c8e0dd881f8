"""A kernel, a server or a client that is gone in the middle of a batch: nothing that was answered is paid for again.

What an endpoint has seen is counted, question by question.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.session.registry import Registry
from tests.endpoints.aside import asks, endpoint_aside, kept, nothing, only_those_that, prompts, wait_until
from tests.endpoints.endpoint import Endpoint
from tests.endpoints.test_sessions import asking_registry
from tests.mcp.line_client import WAIT_S, LineClient
from tests.processes import command_lines_below, left_over, run_directories
from tests.sessions import SessionDriver, until

SIX: Final = "llm_query_batched(list('abcdef'))"
ECHOES: Final = str([f"echo of {name}" for name in "abcdef"])
MANY: Final = """
asked = [f"q{n}" for n in range(220)]
llm_query_batched(asked) == [f"echo of {one}" for one in asked]
"""
ANSWERED, PARALLEL, ASKED = 20, 64, 220
WAYS: Final = {"EOF": None, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}


def fates(registry: Registry, session: SessionDriver) -> Mapping[str, int]:
    """What the trace says of the questions of a session."""
    rows = registry.store.subcalls.rows(session.session_id)
    return Counter(row.fate if row.fate == "late" else row.error_code or row.fate for row in rows)


@pytest.mark.anyio
async def test_after_a_kernel_s_end_only_what_was_not_answered_is_asked_again(tmp_path: Path) -> None:
    """The endpoint is left at once; what it may charge for all the same is booked, and given to nobody."""
    async with Endpoint(held=only_those_that(*"def")) as endpoint, asking_registry(tmp_path, endpoint) as registry:
        session = await SessionDriver.open(registry, "alpha\n")
        index = (await session.begin(SIX)).step_index
        await until(lambda: len(endpoint.seen) == 6 and fates(registry, session) == {"answered": 3})
        session.kernel.process.kill()
        report = await session.end_of(index)
        assert report.status == "kernel_died"
        assert report.subcalls is not None
        assert (report.subcalls.asked, report.subcalls.answered, report.subcalls.failed) == (6, 3, {"stopped": 3})
        await until(lambda: len(endpoint.abandoned) == 3)
        await until(lambda: fates(registry, session) == {"answered": 3, "stopped": 3, "late": 3})
        assert registry.store.subcalls.totals(session.session_id)[0] == 6
        endpoint.held = nothing
        again = await session.ok(SIX)
        assert again.result == ECHOES
        assert again.subcalls is not None
        assert (again.subcalls.answered, again.subcalls.cached, again.subcalls.failed) == (3, 3, {})
        assert prompts(endpoint) == {**dict.fromkeys("abc", 1), **dict.fromkeys("def", 2)}
        assert again.budget.subcalls_left == 1_000 - len(endpoint.seen)


@pytest.mark.anyio
async def test_a_final_answer_beside_open_questions_ends_them_with_their_session(tmp_path: Path) -> None:
    """A step that waits is not over, and refuses the answer; what its thread has asked is stopped with it."""
    async with Endpoint(held=only_those_that("a")) as endpoint, asking_registry(tmp_path, endpoint) as registry:
        session = await SessionDriver.open(registry, "alpha\n")
        thread = "import threading\nthreading.Thread(target=llm_query, args=('a',), daemon=True).start()"
        await session.begin(f"{thread}\nllm_query('b')\nthreading.Event().wait()")
        await until(lambda: prompts(endpoint) == {"a": 1, "b": 1})
        with pytest.raises(SessionBusy):
            await session.finalize(text="too early")
        assert (await session.interrupt()).status == "interrupted"
        await until(lambda: [seen.user for seen in endpoint.abandoned] == ["a"])
        assert (await session.finalize(text="done")).final_answer == "done"
        await until(lambda: fates(registry, session) == {"answered": 1, "stopped": 1, "late": 1})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with endpoint_aside(held=lambda seen: int(seen.user[1:]) >= ANSWERED) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_ends_with_200_questions_open_leaves_nothing_and_the_next_one_asks_for_the_rest(
    tmp_path: Path, endpoint: Endpoint, way: str
) -> None:
    """No process, no directory, no request; whatever was answered before its end is not asked again."""
    directory = tmp_path / "server"
    directory.mkdir()
    settings = asks(endpoint, RLM_SUBCALL_PARALLEL=str(PARALLEL))
    first = LineClient(directory, settings, warm=False)
    try:
        first.initialize()
        session_id = first.open_session()
        first.begin("rlm_run_repl", {"session_id": session_id, "code": MANY})
        wait_until(first, lambda: len(endpoint.seen) == ANSWERED + PARALLEL)
        wait_until(first, lambda: f"{ANSWERED} answered" in kept(first, session_id))
        processes = command_lines_below(first.server_pid)
        status = ended(first, WAYS[way])
        assert status == (0 if way != "SIGKILL" else -signal.SIGKILL)
        assert left_over(processes, WAIT_S) == []
        (run_directory,) = run_directories(processes.values())
        assert not run_directory.exists()
    finally:
        first.kill()
    endpoint.held = nothing
    second = LineClient(directory, settings)
    try:
        second.initialize()
        wait_until(second, lambda: len(endpoint.abandoned) == PARALLEL)
        report = second.run(session_id, MANY)
        assert (report["status"], report["result"]) == ("ok", "True")
        assert (report["subcalls"]["cached"], report["subcalls"]["answered"]) == (ANSWERED, ASKED - ANSWERED)
        once = [f"q{n}" for n in (*range(ANSWERED), *range(ANSWERED + PARALLEL, ASKED))]
        twice = [f"q{n}" for n in range(ANSWERED, ANSWERED + PARALLEL)]
        assert prompts(endpoint) == {**dict.fromkeys(once, 1), **dict.fromkeys(twice, 2)}
        assert second.end() == 0
    finally:
        second.kill()


def ended(client: LineClient, way: signal.Signals | None) -> int:
    """Its server's exit status; its end comes by a signal, or by the end of its input."""
    if way is None:
        return client.end()
    client.process.send_signal(way)
    return client.process.wait(WAIT_S)
