"""Questions from a console, after a kernel came back, and 10,000 at once: an endpoint answers each once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.questions_wire import ASKING, BATCH_MAX
from tests.endpoints.aside import asks, endpoint_aside, nothing, prompts, wait_until
from tests.endpoints.endpoint import Endpoint
from tests.endpoints.test_sessions import asking_registry
from tests.kernel.asking.test_consoles import attached
from tests.mcp.line_client import LineClient
from tests.sessions import SessionDriver, until

PARKS: Final = f"llm_query_batched([str(n) for n in range({BATCH_MAX})])"
LIMITS: Final[dict[str, Any]] = {"max_subcalls": 100_000, "subcall_tokens_limit": 1_000_000_000}
CEILINGS: Final = {
    "RLM_SUBCALL_MAX": "100000",
    "RLM_SUBCALL_MAX_TOKENS": "1000000000",
    "RLM_SUBCALL_DAY_MAX": "1000000",
}


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_console_s_question_is_booked_as_a_console_s(tmp_path: Path) -> None:
    """It is charged to its session, kept as any other answer, and part of no step."""
    async with Endpoint() as endpoint, asking_registry(tmp_path, endpoint) as registry:
        session = await SessionDriver.open(registry, "alpha\n")
        await session.ok("1")
        cell = "mine = llm_query_batched(['a', 'b', 'a'])"
        await attached(session.kernel.directories.connection_file, cell)
        report = await session.ok("mine + llm_query_batched(['a', 'c'])")
        assert report.result == str([f"echo of {name}" for name in "abaac"])
        assert report.step_index == 2
        assert report.subcalls is not None
        assert (report.subcalls.asked, report.subcalls.cached, report.subcalls.answered) == (2, 1, 1)
        assert report.budget.subcalls_left == 1_000 - 3
        assert prompts(endpoint) == dict.fromkeys("abc", 1)
        told = [event for event in await session.trace() if event.action == "subcalls"]
        assert [(event.step_index, event.source) for event in told] == [(1, "console"), (2, "mcp")]
        assert told[0].summary == "3 questions: 2 answered, 1 duplicate; 26 tokens"


@pytest.mark.anyio
async def test_a_kernel_that_comes_back_after_an_idle_stop_can_ask(tmp_path: Path) -> None:
    """The names are there and not in `lost`; answers that are values came back, and are in the cache too."""
    async with Endpoint() as endpoint, asking_registry(tmp_path, endpoint, RLM_IDLE_TIMEOUT_S="1") as registry:
        session = await SessionDriver.open(registry, "alpha\n")
        await session.ok("first = llm_query('a')")
        await until(lambda: session.session.kernel.current is None and not session.session.kernel.changing)
        report = await session.ok("first, llm_query('a'), llm_query('b')")
        assert report.result == "('echo of a', 'echo of a', 'echo of b')"
        assert report.lost is not None
        assert (report.lost.names, set(ASKING) & set(report.lost.restored)) == ((), set())
        assert report.subcalls is not None
        assert (report.subcalls.cached, report.subcalls.answered) == (1, 1)
        assert prompts(endpoint) == {"a": 1, "b": 1}


@pytest.fixture
def parked(tmp_path: Path) -> Iterator[tuple[LineClient, Endpoint]]:
    """A server whose sessions may ask very much, and an endpoint that answers nothing yet."""
    directory = tmp_path / "server"
    directory.mkdir()
    with endpoint_aside(held=lambda seen: True) as endpoint:
        client = LineClient(directory, asks(endpoint, **CEILINGS))
        try:
            client.initialize()
            yield client, endpoint
        finally:
            client.kill()


@pytest.mark.slow
def test_while_10_000_questions_are_parked_another_session_is_served(parked: tuple[LineClient, Endpoint]) -> None:
    """One interrupt ends them all, and whoever asks after that is answered."""
    client, endpoint = parked
    session_id, other = client.open_session(**LIMITS), client.open_session(**LIMITS)
    begun = client.run(session_id, PARKS, wait_ms=0)
    index = begun["step_index"]

    def report() -> dict[str, object]:
        found: dict[str, object] = client.data("rlm_await_step", session_id=session_id, step_index=index, wait_ms=0)
        return found

    wait_until(client, lambda: f'"asked": {BATCH_MAX}' in json.dumps(report()["subcalls"]))
    assert report()["status"] == "running"
    assert client.run(other, "6 * 7")["result"] == "42"
    assert client.data("rlm_get_var", session_id=session_id, var_name="context")["value"] == "some text"
    ended = client.data("rlm_interrupt", session_id=session_id)
    assert (ended["status"], ended["subcalls"]["failed"]) == ("interrupted", {"stopped": BATCH_MAX})
    wait_until(client, lambda: len(endpoint.abandoned) == 16)
    assert len(endpoint.seen) == 16
    endpoint.held = nothing
    assert client.run(other, "llm_query('mine')")["result"] == "'echo of mine'"
    assert client.run(session_id, "llm_query('mine too')")["result"] == "'echo of mine too'"
