"""The real Codex through the front: its whole conversation, a host that dies within it, and two of them at one session.

What Codex starts is a front, which ends with it; the host and its kernels are not below it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.codex.codex_exec import CodexRun, run_codex
from tests.codex.scripted_model import Script
from tests.codex.test_codex_drives_a_session import (
    ANSWER,
    CODE_MODE,
    REPORT,
    UNKNOWN_TO_THE_CATALOG,
    ask,
    assert_the_wire_is_the_contract,
    direct_calls,
    programs,
)
from tests.front.hosts import FRONT, Hosts
from tests.mcp.line_client import WAIT_S
from tests.processes import left_over

pytestmark = [pytest.mark.codex, pytest.mark.slow]


def directory_of(tmp_path: Path, name: str) -> Path:
    directory = tmp_path / name
    directory.mkdir()
    return directory


def assert_it_had_a_front_alone(run: CodexRun) -> None:
    """Which has ended with it; no server and no kernel was below it."""
    commands = list(run.processes.values())
    assert any(FRONT[-1] in command for command in commands), commands
    assert not any("-m rlm_kernel_mcp" in command for command in commands), commands
    assert left_over(run.processes, WAIT_S) == []


def test_codex_drives_a_session_in_a_host_with_direct_tool_calls(tmp_path: Path, hosts: Hosts) -> None:
    directory = directory_of(tmp_path, "codex")
    run = run_codex(
        direct_calls(),
        directory,
        model=UNKNOWN_TO_THE_CATALOG,
        tapped=True,
        files={"report.tsv": REPORT},
        env=hosts.env,
    )
    assert run.last_message == f"{ANSWER} [c1]"
    assert_the_wire_is_the_contract(run)
    assert_it_had_a_front_alone(run)
    assert hosts.count() == 1


def test_codex_drives_a_session_in_a_host_from_code_mode(tmp_path: Path, hosts: Hosts) -> None:
    run = run_codex(programs(), directory_of(tmp_path, "codex"), model=CODE_MODE, env=hosts.env)
    assert run.last_message == ANSWER
    assert_it_had_a_front_alone(run)
    assert hosts.count() == 1


def test_codex_outlives_its_host_and_goes_on_with_the_values_that_it_had(tmp_path: Path, hosts: Hosts) -> None:
    def script() -> Script:
        opened = yield from ask("rlm_init_context", context_text="one two")
        session = {"session_id": opened["data"]["session_id"]}
        yield from ask("rlm_run_repl", **session, code="x = len(context) * 6")
        reader = hosts.client("reader")
        reader.initialize()
        hosts.wait_until_kept(session["session_id"], reader)
        (pid,) = hosts.everyone()
        os.kill(pid, signal.SIGKILL)
        hosts.wait_for_end(pid)
        again = yield from ask("rlm_run_repl", **session, code="x, len(context)")
        assert (again["data"]["status"], again["data"]["result"]) == ("ok", "(42, 7)")
        return "done"

    run = run_codex(script(), directory_of(tmp_path, "codex"), model=UNKNOWN_TO_THE_CATALOG, env=hosts.env)
    assert run.last_message == "done"
    assert [status for _, status in run.tool_calls] == ["completed"] * 3


def test_two_codex_share_a_session_by_its_handle_with_one_driver_at_a_time(tmp_path: Path, hosts: Hosts) -> None:
    """As a thread and its sub-agent do: who comes while a step runs is told which, and can read meanwhile."""

    def second(session_id: str) -> Script:
        session = {"session_id": session_id}
        busy = yield from ask("rlm_run_repl", **session, code="1")
        assert busy["error"]["code"] == "SESSION_BUSY"
        assert "Step 2 of" in busy["error"]["message"], busy
        value = yield from ask("rlm_get_var", **session, var_name="mine")
        assert value["data"]["value"] == 41
        trace = yield from ask("rlm_get_trace", **session)
        assert [event["action"] for event in trace["data"]["events"]] == ["init_context", "run_repl", "run_repl"]
        stopped = yield from ask("rlm_interrupt", **session)
        assert stopped["data"]["status"] == "interrupted"
        stepped = yield from ask("rlm_run_repl", **session, code="theirs = mine + next(numbers) + 1\ntheirs")
        assert stepped["data"]["result"] == "42"
        return "the second has ended"

    def first() -> Script:
        opened = yield from ask("rlm_init_context", context_text="short")
        session = {"session_id": opened["data"]["session_id"]}
        code = "mine = 41\nnumbers = (number for number in range(3))"  # which comes back from no snapshot
        yield from ask("rlm_run_repl", **session, code=code)
        begun = yield from ask("rlm_run_repl", **session, code="while True: pass", wait_ms=0)
        assert begun["data"]["status"] == "running"
        beside = run_codex(
            second(session["session_id"]),
            directory_of(tmp_path, "second"),
            model=UNKNOWN_TO_THE_CATALOG,
            env=hosts.env,
        )
        assert beside.last_message == "the second has ended"
        assert_it_had_a_front_alone(beside)
        stepped = yield from ask("rlm_run_repl", **session, code="theirs + next(numbers)")
        assert stepped["data"]["result"] == "43"
        return "the first has ended"

    run = run_codex(first(), directory_of(tmp_path, "first"), model=UNKNOWN_TO_THE_CATALOG, env=hosts.env)
    assert run.last_message == "the first has ended"
    assert_it_had_a_front_alone(run)
    assert hosts.count() == 1
