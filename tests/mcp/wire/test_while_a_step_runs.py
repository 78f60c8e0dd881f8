"""While a step runs, every other tool and every other session answers at once."""

from __future__ import annotations

import pytest

from tests.mcp.line_client import LineClient, data_of

WAIT_FOR_FILE = """
import time
beat = 0
while not go:
    beat += 1
    time.sleep(0.01)
'gone on'
"""


@pytest.fixture(scope="module")
def client(workers_client: LineClient) -> LineClient:
    """The worker's server."""
    return workers_client


@pytest.fixture
def running(client: LineClient) -> tuple[str, int]:
    """A session whose first step runs until it is interrupted, and the call that waits for it."""
    session_id = client.open_session("the text")
    client.run(session_id, "go, beat = False, 0\nxs = [1, 2]")
    call = client.begin("rlm_run_repl", {"session_id": session_id, "code": WAIT_FOR_FILE, "wait_ms": 600_000})
    client.wait_until_running(session_id)
    return session_id, call


def test_every_tool_answers_while_a_step_runs(client: LineClient, running: tuple[str, int]) -> None:
    """Variables, trace, sessions, waiting, and other sessions; the waiting call is the last to be answered."""
    session_id, call = running
    assert client.data("rlm_get_var", session_id=session_id, var_name="xs")["value"] == [1, 2]
    first = client.data("rlm_get_var", session_id=session_id, var_name="beat")["value"]
    beats = (client.data("rlm_get_var", session_id=session_id, var_name="beat")["value"] for _ in range(10_000))
    assert any(beat > first for beat in beats)
    assert client.data("rlm_get_trace", session_id=session_id)["events"][-1]["step_index"] == 2
    assert client.data("rlm_await_step", session_id=session_id, step_index=2, wait_ms=0)["status"] == "running"
    assert client.data("rlm_await_step", session_id=session_id, step_index=1)["status"] == "ok"
    assert client.error("rlm_run_repl", session_id=session_id, code="1")["code"] == "SESSION_BUSY"
    assert client.error("rlm_finalize", session_id=session_id, final_text="x")["code"] == "SESSION_BUSY"
    other = client.open_session("another text")
    assert client.run(other, "context")["result"] == "'another text'"
    assert all(message.get("id") != call for message in client.seen)
    assert client.data("rlm_interrupt", session_id=session_id)["status"] == "interrupted"
    assert data_of(client.result(call))["status"] == "interrupted"


def test_two_sessions_run_at_the_same_time(client: LineClient, running: tuple[str, int]) -> None:
    """Each in its own kernel, with its own names."""
    session_id, call = running
    other = client.open_session()
    other_call = client.begin("rlm_run_repl", {"session_id": other, "code": "go = False\n" + WAIT_FOR_FILE})
    client.wait_until_running(session_id, other)
    assert client.data("rlm_interrupt", session_id=other)["step_index"] == 1
    assert data_of(client.result(other_call))["status"] == "interrupted"
    assert client.data("rlm_await_step", session_id=session_id, step_index=2, wait_ms=0)["status"] == "running"
    client.data("rlm_interrupt", session_id=session_id)
    client.result(call)


@pytest.mark.slow
def test_a_caller_with_a_progress_token_hears_of_a_step_that_takes_long(client: LineClient) -> None:
    """Every few seconds; one is waited for."""
    session_id = client.open_session()
    client.begin("rlm_run_repl", {"session_id": session_id, "code": "while True: pass"}, {"progressToken": "tok"})
    while (message := client.receive()).get("method") != "notifications/progress":
        continue
    assert message["params"]["progressToken"] == "tok"
    assert message["params"]["progress"] > 0
    client.data("rlm_interrupt", session_id=session_id)
