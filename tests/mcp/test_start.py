"""How the server starts: what it says, what it refuses, what it must not import first; and both protocol eras."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from rlm_kernel_mcp.settings import TABLE
from tests.mcp.line_client import CLIENT, SERVE, LineClient

HEAVY = ("jupyter_client", "zmq", "IPython", "ipykernel", "sqlite3", "rlm_kernel_mcp.session.registry")


def rlm(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-I", "-m", "rlm_kernel_mcp", *arguments],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nothing_heavy_is_imported_before_initialize_is_answered() -> None:
    """Codex leaves without a server that needs more than about a second."""
    code = f"""
import sys
import rlm_kernel_mcp.cli, rlm_kernel_mcp.server.app
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_first_answer_is_initialize_s_with_instructions(tmp_path: Path) -> None:
    """And nothing but the protocol is on stdout."""
    client = LineClient(tmp_path)
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
        ("RLM_SANDBOX_FALLBACK", "yes", "off, process"),
        ("RLM_IMPORT_POLICY", "all", "allowlist, any"),
        ("RLM_SANDBOX_CONTAINER_RUNTIME", "runc", "docker, podman"),
        ("RLM_MEMORY_LIMIT_MB", "lots", "whole number of MB"),
        ("RLM_MAX_SESSIONS", "0", "whole number of sessions"),
        ("RLM_IDLE_TIMEOUT_S", "-1", "whole number of seconds"),
        ("RLM_CONTEXT_ROOTS", "/no/such/folder", "/no/such/folder"),
    ],
)
def test_an_unknown_setting_is_refused_at_start_with_the_known_ones(variable: str, value: str, known: str) -> None:
    """On stderr, with status 2; by variable and by option."""
    option = next(row.option for row in TABLE if row.variable == variable)
    for done in (rlm("serve", **{variable: value}), rlm("serve", option, value)):
        assert (done.returncode, done.stdout) == (2, "")
        assert variable in done.stderr
        assert known in done.stderr


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
        "kernelspec install",
        "kernelspec list",
        "kernelspec remove",
        "doctor",
        "sessions",
        "attach",
        "trace",
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
        ["attach"],
        ["kernelspec", "install", "--user", "--sys-prefix"],
    ):
        done = rlm(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage:" in done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdk_s_own_client_opens_a_session_in_both_protocol_eras(tmp_path: Path, mode: str) -> None:
    """With the handshake of 2025 and without."""
    env = {**os.environ, "RLM_STATE_DIR": str(tmp_path / "state")}
    server = StdioServerParameters(command=SERVE[0], args=list(SERVE[1:]), cwd=tmp_path, env=env)
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
