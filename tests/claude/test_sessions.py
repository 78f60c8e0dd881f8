"""A session whose code asks a scripted `claude`: with limits, dollars and a trace, without its key, and to its end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.commands.doctoring.questions import is_answered
from tests.claude.scripted import KEY, Scripted
from tests.endpoints.looking import environment_of, files_with, memory_of
from tests.mcp.line_client import SERVE, WAIT_S, LineClient
from tests.processes import command_lines_below, left_over
from tests.sessions import SessionDriver, end_session, open_registry, until


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    (tmp_path / "bin").mkdir()
    return Scripted(tmp_path / "bin")


@pytest.mark.anyio
async def test_code_asks_claude_and_the_key_is_found_nowhere(
    tmp_path: Path, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    """What it says that it cost is what the session has spent; its dollars need no price."""
    state_dir = tmp_path / "state"
    scripted.plan(result={"result": f"It is {KEY}"}, is_secretive=True)
    more: dict[str, Any] = {"RLM_SUBCALL_MAX_USD": "0.5", "RLM_SUBCALL_PARALLEL": "1"}
    async with open_registry(state_dir, **(more | scripted.environ)) as registry:
        session = await SessionDriver.open(registry, "alpha\nbeta\n")
        report = await session.ok("llm_query('which?', context)")
        assert report.result == "'It is [key]'"
        assert report.subcalls is not None
        assert (report.subcalls.tokens_in, report.subcalls.tokens_out, report.subcalls.usd) == (10, 3, 0.25)
        report = await session.ok("llm_query_batched(['a', 'b', 'c'])[1:], budget().subcall_usd")
        assert "SubcallError" in (report.result or "")
        assert "$0.00 of $0.50 are left" in (report.result or "")
        below = [process.pid for process in command_lines_below(os.getpid())]
        assert session.kernel.process.pid in below
        assert [pid for pid in below if KEY.encode() in environment_of(pid)] == []
        assert KEY.encode() not in memory_of(session.kernel.process.pid)
        await registry.complete_trace(session.session_id, None, None)
        assert KEY not in f"{await session.trace()} {report}"
        await end_session(session)
    assert KEY not in caplog.text
    assert files_with(KEY, [state_dir]) == []


@pytest.mark.anyio
async def test_doctor_asks_claude_one_question_where_that_is_wanted(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says what became of it."""
    assert await asyncio.to_thread(is_answered, scripted.settings())
    scripted.plan(tools=["Bash"])
    assert not await asyncio.to_thread(is_answered, scripted.settings())
    told = capsys.readouterr().out
    assert "api.anthropic.com answers as scripted-1" in told
    assert "NO ANSWER from api.anthropic.com: refused: This claude is not asked, since it offers Bash" in told


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(signal.SIGKILL, id="SIGKILL"),
        pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow),
        pytest.param(None, id="EOF", marks=pytest.mark.slow),
    ],
)
def test_a_server_that_ends_while_claude_is_asked_leaves_no_process_and_no_directory(
    tmp_path: Path, scripted: Scripted, way: signal.Signals | None
) -> None:
    """Not even what has left its group: whoever keeps it sees that the server is gone."""
    for name in ("server", "tmp"):
        (tmp_path / name).mkdir()
    scripted.plan(hangs=True, leaves_children=True)
    argv = (*SERVE, "--idle-timeout-s", "3600")  # never by a front: a host lives on where that ends
    client = LineClient(tmp_path / "server", scripted.environ | {"TMPDIR": str(tmp_path / "tmp")}, argv, warm=False)
    try:
        client.initialize()
        session_id = client.open_session()
        client.begin("rlm_run_repl", {"session_id": session_id, "code": "llm_query('a')"})
        records = scripted.directory / "records"
        asyncio.run(until((records / "hanging").exists))
        processes = command_lines_below(client.server_pid)
        pids = {process.pid for process in processes}
        assert {int(path.name.partition("-")[2]) for path in records.glob("child-*")} <= pids
        kept = next(one for one in (tmp_path / "tmp").glob("rlm-claude-*") if (one / "work").exists())
        if way is None:
            client.end()
        else:
            os.kill(client.server_pid, way)
            client.process.wait(WAIT_S)
        assert left_over(processes, WAIT_S) == []
        assert not kept.exists()
    finally:
        client.kill()


@pytest.mark.anyio
async def test_an_interrupt_ends_what_claude_does_at_once(tmp_path: Path, scripted: Scripted) -> None:
    """What it had been told counts, and is booked."""
    scripted.plan(hangs=True)
    environ: dict[str, Any] = scripted.environ
    async with open_registry(tmp_path / "state", **environ) as registry:
        session = await SessionDriver.open(registry, "alpha\n")
        await session.begin("llm_query('a')")
        await until((scripted.directory / "records" / "hanging").exists)
        pid = int((scripted.directory / "records" / "hanging").read_text())
        (process,) = [one for one in command_lines_below(os.getpid()) if one.pid == pid]
        report = await session.interrupt()
        assert report.status == "interrupted"
        assert report.subcalls is not None
        assert report.subcalls.failed == {"stopped": 1}
        assert await asyncio.to_thread(left_over, [process], WAIT_S) == []
        await end_session(session)
