"""The agent and a person at a console use one kernel at the same moment, also during a long step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.attach.console import PROMPT, Console
from tests.mcp.line_client import LineClient

Attached = Callable[..., Console]
TURNS = 5
TEN_MINUTES_MS = 600_000
LONG = f"""
import time
print("it begins", flush=True)
begun = True
end = time.monotonic() + {TEN_MINUTES_MS} / 1000
while time.monotonic() < end: time.sleep(0.01)
"""
"""Far longer than a minute: it is ended, whatever the machine has to do beside it."""
WAITS = "This cell runs when the agent's step has ended."


@pytest.fixture
def session_id(client: LineClient) -> str:
    """A session with one step, in which a long one may run."""
    session_id = client.open_session("the context", max_runtime_ms=2 * TEN_MINUTES_MS)
    client.run(session_id, "agents, both = 41, []")
    return session_id


@pytest.fixture
def attached(client: LineClient, session_id: str) -> Iterator[Attached]:
    """Attach a console to it, at a terminal of a type."""
    with ExitStack() as consoles:

        def attach(*terminal_type: str) -> Console:
            console = Console(["-m", "rlm_kernel_mcp", "attach", session_id], client.env, *terminal_type)
            return consoles.enter_context(closing(console))

        yield attach


@pytest.mark.slow
def test_steps_and_cells_that_come_at_once_run_one_after_the_other(
    client: LineClient, session_id: str, attached: Attached
) -> None:
    """None is lost, each side's are in its order, and the trace says whose each was."""
    console = attached()
    for turn in range(TURNS):
        step = client.begin("rlm_run_repl", {"session_id": session_id, "code": f"both.append(({turn}, 'agent'))"})
        console.type(f"both.append(({turn}, 'person')); print('turn', 10**6 + {turn})")
        console.until(f"turn {10**6 + turn}")
        console.until(PROMPT)
        assert client.result(step)["structuredContent"]["data"]["status"] == "ok"
    for side in ("agent", "person"):
        own = client.run(session_id, f"[one for one in both if one[1] == {side!r}]")
        assert own["result"] == repr([(turn, side) for turn in range(TURNS)])
    events = client.data("rlm_get_trace", session_id=session_id, max_output_chars=200_000)["events"]
    for side, source in (("agent", "mcp"), ("person", "console")):
        assert [event["source"] for event in events if f"'{side}'))" in event["summary"]] == [source] * TURNS


@pytest.mark.slow
@pytest.mark.parametrize("terminal_type", ["dumb", "xterm"])
def test_both_sides_go_on_during_a_long_step(
    client: LineClient, session_id: str, attached: Attached, terminal_type: str
) -> None:
    """The person sees it, types, takes a cell back and types another; the agent reads, and ends it before its time."""
    console = attached(terminal_type)
    asked = {"session_id": session_id, "code": LONG, "timeout_ms": TEN_MINUTES_MS, "wait_ms": TEN_MINUTES_MS}
    step = client.begin("rlm_run_repl", asked)
    client.wait_for_name(session_id, "begun")
    console.until("it begins")
    console.type("agents = 'taken back'")
    console.until(WAITS)
    assert client.data("rlm_get_var", session_id=session_id, var_name="agents")["value"] == 41
    console.interrupt()
    console.until("Your cell was withdrawn; the agent's step goes on.")
    console.type("agents * 1_000_003 if begun else None")
    console.until(WAITS)
    assert client.error("rlm_run_repl", session_id=session_id, code="1")["code"] == "SESSION_BUSY"
    assert client.data("rlm_interrupt", session_id=session_id)["status"] == "interrupted"
    console.until("41000123")
    report = client.result(step)["structuredContent"]["data"]
    assert (report["status"], report["stdout"]) == ("interrupted", "it begins\n")
    assert client.run(session_id, "agents")["result"] == "41"
    console.type("agents + 1_000_000_000")
    console.until("1000000041")
