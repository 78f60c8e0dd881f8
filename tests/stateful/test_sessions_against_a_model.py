"""Sessions through the SDK's client, in random order of calls, against a model that fits on one page."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio.from_thread
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from mcp import Client

from rlm_kernel_mcp.server.mcp_server import build_server
from rlm_kernel_mcp.server.mcp_server import open_registry as open_in_background
from rlm_kernel_mcp.settings import load_settings

WAIT_S: Final = 60.0
EXAMPLES: Final = 10
CALLS: Final = 30
NAMES: Final = ("alpha", "beta", "gamma")
LONG: Final = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.001)"

values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text("ab ü\n'\\", max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(NAMES)


class Connection:
    """One server in this process and the SDK's client of it, driven from a thread of their own."""

    def __init__(self) -> None:
        self._exits = ExitStack()
        directory = self._exits.enter_context(tempfile.TemporaryDirectory())
        server_settings = load_settings(Path.cwd(), {"RLM_STATE_DIR": str(Path(directory) / "state")})
        self._portal = self._exits.enter_context(anyio.from_thread.start_blocking_portal())
        client = Client(build_server(lambda: open_in_background(server_settings)))
        self.client = self._exits.enter_context(self._portal.wrap_async_context_manager(client))

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The envelope of a call."""
        result = self._portal.call(self._bounded, tool, arguments)
        body: dict[str, Any] = result.structured_content
        assert bool(result.is_error) is not body["ok"], body
        assert json.loads(result.content[0].text) == body
        return body

    async def _bounded(self, tool: str, arguments: dict[str, Any]) -> Any:
        async with asyncio.timeout(WAIT_S):
            return await self.client.call_tool(tool, arguments)

    def close(self) -> None:
        self._exits.close()


@dataclass(slots=True)
class Expected:
    """What the model knows of one session."""

    session_id: str
    text: str
    max_steps: int
    budget: int
    steps: int = 0
    used: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    replies: dict[int, dict[str, Any]] = field(default_factory=dict)
    events: list[tuple[str, int]] = field(default_factory=lambda: [("init_context", 0)])
    running: bool = False
    final: tuple[str, str] | None = None

    @property
    def stopped(self) -> str | None:
        if self.used >= self.budget:
            return "budget_exceeded"
        return "max_steps" if self.steps >= self.max_steps and not self.running else None

    @property
    def status(self) -> str:
        if self.final is not None:
            return "finalized"
        return "running" if self.running else "stopped" if self.stopped else "idle"


def delivered(report: dict[str, Any]) -> int:
    """Characters that a reply gave the client, of those that count."""
    error = report["error"] or {"ename": "", "evalue": "", "traceback": ""}
    return sum(map(len, (report["stdout"], report["stderr"], report["result"] or "", *error.values())))


class Sessions(RuleBasedStateMachine):
    """Every tool in any order; each answer is held against the model."""

    connection: Connection
    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Expected] = []

    @initialize(target=sessions)
    def first(self) -> Expected:
        return self.opened("text", 100, 100_000)

    @rule(
        target=sessions,
        text=st.text("ab ü\n", min_size=1, max_size=30),
        max_steps=st.sampled_from([2, 100]),
        budget=st.sampled_from([1_000, 100_000]),
    )
    def open(self, text: str, max_steps: int, budget: int) -> Expected:
        return self.opened(text, max_steps, budget)

    def opened(self, text: str, max_steps: int, budget: int) -> Expected:
        opened = self.ok("rlm_init_context", context_text=text, max_steps=max_steps, budget_limit=budget)
        assert opened["counters"] == {"step_index": 0, "runtime_ms": 0, "budget_used": 0}
        assert (opened["context"]["chars"], opened["config"]["max_steps"]) == (len(text), max_steps)
        session = Expected(opened["session_id"], text, max_steps, budget)
        self.all.append(session)
        return session

    @rule(session=sessions, name=names, value=values)
    def bind(self, session: Expected, name: str, value: Any) -> None:
        report = self.step(session, f"{name} = {value!r}\nprint(len(context))")
        if report is not None:
            session.values[name] = value
            assert (report["status"], report["stdout"]) == ("ok", f"{len(session.text)}\n")
            assert [row["name"] for row in report["updated_vars_summary"]] == [name]

    @rule(session=sessions, name=names)
    def fail(self, session: Expected, name: str) -> None:
        report = self.step(session, f"del {name}\n1/0")
        if report is not None:
            bound = session.values.pop(name, self) is not self
            assert (report["status"], report["result"]) == ("error", None)
            assert report["error"]["ename"] == ("ZeroDivisionError" if bound else "NameError")

    @rule(session=sessions)
    def begin_long(self, session: Expected) -> None:
        report = self.step(session, LONG, wait_ms=0)
        if report is not None:
            assert (report["status"], report["guardrail_stop"]) == ("running", None)
            session.running = True

    @rule(session=sessions)
    def interrupt(self, session: Expected) -> None:
        report = self.ok("rlm_interrupt", session_id=session.session_id)
        if session.running:
            assert (report["status"], report["step_index"]) == ("interrupted", session.steps)
            session.running = False
            session.events += [("interrupt", session.steps)]
            self.account(session, report)
            session.replies[session.steps] = report
        else:
            is_final = session.final is not None
            note = "No step was running; nothing was interrupted."
            note += " The session has its final answer: nothing runs in it any more." if is_final else ""
            assert (report["status"], report["note"]) == ("ok", note)

    @rule(session=sessions, back=st.integers(0, 12))
    def await_step(self, session: Expected, back: int) -> None:
        index = session.steps - back
        if index < 1:
            missing = {"session_id": session.session_id, "step_index": 1_000}
            assert self.refused("rlm_await_step", **missing) == "INVALID_INPUT"
            return
        report = self.ok("rlm_await_step", session_id=session.session_id, step_index=index, wait_ms=0)
        if session.running and back == 0:
            assert report["status"] == "running"
        else:
            known = session.replies[index]
            told = (
                "status",
                "step_index",
                "duration_ms",
                "stdout",
                "stderr",
                "result",
                "error",
                "updated_vars_summary",
            )
            assert {key: report[key] for key in told} == {key: known[key] for key in told}
        self.account(session, report)

    @rule(session=sessions, name=names)
    def get_var(self, session: Expected, name: str) -> None:
        if session.final is not None:
            assert self.refused("rlm_get_var", session_id=session.session_id, var_name=name) == "SESSION_FINALIZED"
        elif name not in session.values:
            assert self.refused("rlm_get_var", session_id=session.session_id, var_name=name) == "VARIABLE_NOT_FOUND"
        else:
            found = self.ok("rlm_get_var", session_id=session.session_id, var_name=name)
            assert (found["value"], found["text"], found["truncated"]) == (session.values[name], False, False)

    @rule(session=consumes(sessions), target=sessions, name=names | st.none())
    def finalize(self, session: Expected, name: str | None) -> Expected:
        given = {"final_text": "the answer"} if name is None else {"final_var_name": name}
        wanted = ("text", "the answer") if name is None else ("variable", name)
        if session.final is not None and session.final != wanted:
            assert self.refused("rlm_finalize", session_id=session.session_id, **given) == "SESSION_FINALIZED"
        elif session.running:
            assert self.refused("rlm_finalize", session_id=session.session_id, **given) == "SESSION_BUSY"
        elif session.final is None and name is not None and name not in session.values:
            assert self.refused("rlm_finalize", session_id=session.session_id, **given) == "VARIABLE_NOT_FOUND"
        else:
            answer = self.ok("rlm_finalize", session_id=session.session_id, **given)
            if name is None:
                assert answer["final_answer"] == "the answer"
            elif isinstance(session.values[name], str):
                assert answer["final_answer"] == session.values[name]
            assert (answer["stats"]["steps"], answer["finish_reason"]) == (
                session.steps,
                session.stopped or "completed",
            )
            if session.final is None:
                session.final = wanted
                session.events.append(("finalize", session.steps))
        return session

    @rule(session=sessions)
    def trace(self, session: Expected) -> None:
        page = self.ok("rlm_get_trace", session_id=session.session_id, max_output_chars=200_000)
        assert page["next_offset"] is None
        assert [(row["action"], row["step_index"]) for row in page["events"]] == session.events
        statuses = {row["step_index"]: row["result_status"] for row in page["events"] if row["action"] == "run_repl"}
        running = {session.steps: "running"} if session.running else {}
        assert statuses == {index: report["status"] for index, report in session.replies.items()} | running

    @rule(tool=st.sampled_from(["rlm_run_repl", "rlm_get_var", "rlm_await_step", "rlm_finalize", "rlm_get_trace"]))
    def nobody_s_session(self, tool: str) -> None:
        rest: dict[str, dict[str, Any]] = {
            "rlm_run_repl": {"code": "1"},
            "rlm_get_var": {"var_name": "x"},
            "rlm_await_step": {"step_index": 1},
            "rlm_finalize": {"final_text": "x"},
        }
        assert self.refused(tool, session_id="s_nobody22", **rest.get(tool, {})) == "SESSION_NOT_FOUND"

    @rule(
        session=sessions,
        arguments=st.sampled_from([{}, {"code": ""}, {"code": 5}, {"code": "1", "wait_ms": -1}, {"code": "1", "x": 1}]),
    )
    def bad_input(self, session: Expected, arguments: dict[str, Any]) -> None:
        assert self.refused("rlm_run_repl", session_id=session.session_id, **arguments) == "INVALID_INPUT"

    @invariant()
    def listed(self) -> None:
        listing = self.ok("rlm_list_sessions", state="all", limit=200)
        rows = {row["session_id"]: row for row in listing["sessions"]}
        shown = [session for session in self.all if session.session_id in rows]
        assert len(self.all) - len(shown) <= listing["omitted"]
        for session in shown:
            row = rows[session.session_id]
            assert (row["status"], row["step_index"]) == (session.status, session.steps)
            assert row["counters"]["budget_used"] == session.used

    def step(self, session: Expected, code: str, **arguments: Any) -> dict[str, Any] | None:
        """Run a step; None where it must not run and does not."""
        given = {"session_id": session.session_id, "code": code, **arguments}
        if session.final is not None:
            assert self.refused("rlm_run_repl", **given) == "SESSION_FINALIZED"
            return None
        if session.running:
            assert self.refused("rlm_run_repl", **given) == "SESSION_BUSY"
            return None
        report = self.ok("rlm_run_repl", **given)
        if session.stopped:
            assert (report["status"], report["guardrail_stop"]) == ("stopped", session.stopped)
            session.events.append(("refused", session.steps))
            return None
        session.steps += 1
        session.used += len(code)
        session.events.append(("run_repl", session.steps))
        self.account(session, report)
        assert (report["step_index"], report["lost"]) == (session.steps, None)
        if report["status"] != "running":
            session.replies[session.steps] = report
            assert report["guardrail_stop"] == session.stopped
        return report

    def account(self, session: Expected, report: dict[str, Any]) -> None:
        session.used += delivered(report)
        assert report["budget"]["chars_left"] == max(0, session.budget - session.used)
        assert report["budget"]["steps_left"] == session.max_steps - session.steps
        if report["guardrail_stop"] and "stop" not in dict(session.events):
            session.events.append(("stop", session.steps))

    def ok(self, tool: str, **arguments: Any) -> dict[str, Any]:
        body = self.connection.call(tool, **arguments)
        assert body["ok"], body
        data: dict[str, Any] = body["data"]
        return data

    def refused(self, tool: str, **arguments: Any) -> str:
        body = self.connection.call(tool, **arguments)
        assert not body["ok"], body
        code: str = body["error"]["code"]
        return code

    def teardown(self) -> None:
        for session in self.all:
            if session.running:
                self.ok("rlm_interrupt", session_id=session.session_id)
            self.connection.call("rlm_finalize", session_id=session.session_id, final_text="the end")


@pytest.fixture
def connection() -> Iterator[Connection]:
    """One server for all examples: sessions do not share anything that a client sees."""
    opened = Connection()
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sessions_answer_as_the_model_says(connection: Connection) -> None:
    """In any order of calls, with several sessions side by side."""

    class Machine(Sessions):
        pass

    Machine.connection = connection
    machine = Machine.TestCase
    machine.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=CALLS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a shorter example is not worth minutes of search
    )
    machine().runTest()
