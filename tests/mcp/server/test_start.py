"""How the server starts: what it says, what it refuses, what it must not import first; and both protocol eras."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.variables.table import TABLE
from tests.mcp.line_client import CLIENT, LineClient
from tests.specs import write_spec
from tests.unit.test_settings import UNKNOWN
from tests.warm.python import run_python

HEAVY = (
    *("jupyter_client", "zmq", "IPython", "ipykernel", "sqlite3", "rapidfuzz", "ahocorasick_rs"),
    "rlm_kernel_mcp.session.registry",
)


def rlm(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return run_python(["-m", "rlm_kernel_mcp", *arguments], {**os.environ, **env})


def test_nothing_heavy_is_imported_before_initialize_is_answered() -> None:
    """Codex leaves without a server that needs a second or more; what only a wrong quote needs comes later still."""
    code = f"""
import sys
import rlm_kernel_mcp.cli, rlm_kernel_mcp.server.app
print([name for name in {HEAVY!r} if name in sys.modules])
import rlm_kernel_mcp.session.registry
print([name for name in {HEAVY!r} if name not in sys.modules])
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    before, never = done.stdout.splitlines()
    assert before == "[]"
    assert "rapidfuzz" in never


def test_the_first_answer_is_initialize_s_with_instructions(tmp_path: Path) -> None:
    """And nothing but the protocol is on stdout."""
    client = LineClient(tmp_path, warm=False)
    try:
        result = client.initialize()
        assert result["protocolVersion"] == CLIENT["protocolVersion"]
        assert len(result["instructions"]) <= 2_048
        assert "too large" in result["instructions"][:250]
        assert "tools" in result["capabilities"]
        assert client.end() == 0
        assert client.stdout.read() == b""
    finally:
        client.kill()


@pytest.mark.parametrize(
    ("variable", "value", "known"),
    [
        ("RLM_SANDBOX_MODE", "none", "process, container"),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in UNKNOWN),
        pytest.param("RLM_KERNEL", "no-such-kernel", "known: rlm-python", marks=pytest.mark.slow),
        ("RLM_KERNEL", "python3", "known: rlm-python"),
    ],
)
def test_an_unknown_setting_is_refused_at_start_with_the_known_ones(variable: str, value: str, known: str) -> None:
    """On stderr, with status 2; by variable and by option."""
    option = next(row.option for row in TABLE if row.variable == variable)
    for done in (rlm("serve", **{variable: value}), rlm("serve", option, value), rlm(option, value)):
        assert (done.returncode, done.stdout) == (2, "")
        assert variable in done.stderr
        assert known in done.stderr


def test_the_old_name_of_the_process_mode_is_taken() -> None:
    """The server starts with it, and ends with its input."""
    assert rlm(RLM_SANDBOX_MODE="subprocess").returncode == 0


def test_the_version_is_told() -> None:
    """Without a subcommand, too."""
    assert rlm("--version").stdout.strip() == __version__


def test_serve_help_lists_every_setting_with_its_default() -> None:
    """By option and variable."""
    told = " ".join(rlm("serve", "--help", COLUMNS="400").stdout.split())
    for row in TABLE:
        assert row.option in told
        assert f"(variable {row.variable}; default: {row.default})" in told


@pytest.mark.parametrize(
    "command",
    [
        "",
        "serve",
        "kernelspec",
        *(pytest.param(f"kernelspec {one}", marks=pytest.mark.slow) for one in ("install", "list", "remove")),
        "doctor",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("sessions", "attach", "trace", "kill", "resume")),
    ],
)
def test_every_command_has_a_help(command: str) -> None:
    """That says what it does."""
    done = rlm(*command.split(), "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 4


def test_a_wrong_command_line_is_refused() -> None:
    """With status 2 and the usage, on stderr."""
    for arguments in (
        ["fly"],
        ["serve", "--warp", "9"],
        ["trace"],
        ["kernelspec", "install", "--user", "--sys-prefix"],
    ):
        done = rlm(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage:" in done.stderr


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdk_s_own_client_opens_a_session_in_both_protocol_eras(
    tmp_path: Path, mode: str, start: tuple[tuple[str, ...], Mapping[str, str]]
) -> None:
    """With the handshake of 2025 and without."""
    (program, *arguments), settings = start
    env = {**os.environ, **settings, "RLM_STATE_DIR": str(tmp_path / "state")}
    server = StdioServerParameters(command=program, args=arguments, cwd=tmp_path, env=env)
    async with asyncio.timeout(60), Client(server, mode=mode) as client:
        opened = await client.call_tool("rlm_init_context", {"context_text": "abc"})
        assert opened.structured_content is not None
        session_id = opened.structured_content["data"]["session_id"]
        step = await client.call_tool("rlm_run_repl", {"session_id": session_id, "code": "len(context)"})
        assert step.structured_content is not None
        assert step.structured_content["data"]["result"] == "3"
        refused = await client.call_tool("rlm_run_repl", {"session_id": session_id})
        assert refused.is_error
        assert json.loads(refused.content[0].text)["error"]["code"] == "INVALID_INPUT"  # type: ignore[union-attr]


def test_a_context_that_the_session_s_memory_cannot_hold_is_refused(tmp_path: Path) -> None:
    """Inline as well as by path, where no file is mapped; the message has both sizes."""
    write_spec(tmp_path, "in-memory", {"context": {"mapped_max_gb": 0}})
    env = {"RLM_MEMORY_LIMIT_MB": "64", "RLM_KERNEL": "in-memory", "JUPYTER_PATH": str(tmp_path)}
    client = LineClient(tmp_path, env=env)
    try:
        client.initialize()
        (tmp_path / "large.txt").write_text("x" * 41_000_000)
        for source in ({"context_text": "x" * 41_000_000}, {"context_paths": ["large.txt"]}):
            error = client.error("rlm_init_context", **source)
            assert error["code"] == "CONTEXT_TOO_LARGE"
            assert "40,265,318 bytes" in error["message"]
            assert "RLM_MEMORY_LIMIT_MB" in error["message"]
    finally:
        client.kill()


def test_a_state_folder_that_cannot_be_one_costs_only_what_a_restart_would_need(tmp_path: Path) -> None:
    """The first reply says so; the session works to its end."""
    (tmp_path / "file").write_text("in the way")
    client = LineClient(tmp_path, env={"RLM_STATE_DIR": str(tmp_path / "file")})
    try:
        client.initialize()
        session_id = client.open_session()
        assert "RLM_STATE_DIR" in client.run(session_id, "answer = 1")["note"]
        assert client.data("rlm_get_trace", session_id=session_id)["events"]
        assert client.data("rlm_finalize", session_id=session_id, final_var_name="answer")["final_answer"] == "1"
        assert (tmp_path / "file").read_text() == "in the way"
    finally:
        client.kill()


def test_a_session_beyond_the_places_is_refused_while_steps_run_and_loses_nothing(tmp_path: Path) -> None:
    """RLM_MAX_SESSIONS; the refused step is not a step."""
    client = LineClient(tmp_path, env={"RLM_MAX_SESSIONS": "1"})
    try:
        client.initialize()
        first, second = client.open_session(), client.open_session()
        client.run(second, "while True: pass", wait_ms=0)
        client.wait_until_running(second)
        for tool, arguments in (
            ("rlm_init_context", {"context_text": "x"}),
            ("rlm_run_repl", {"session_id": first, "code": "1"}),
        ):
            error = client.error(tool, **arguments)
            assert error["code"] == "SESSION_BUSY"
            assert "RLM_MAX_SESSIONS" in error["message"]
        client.data("rlm_interrupt", session_id=second)
        assert client.run(first, "1")["step_index"] == 1
    finally:
        client.kill()
