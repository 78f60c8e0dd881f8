"""Runs the real `codex exec` against a scripted model, with `bin/rlm-mcp` as its MCP server.

Is: Codex's configuration, the run, and what is known of it afterwards: the events, both directions of the
wire, and the processes that lived below Codex. Is not: the conversation (`scripted_model.py`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tests.codex.scripted_model import Request, Script, ScriptedModel
from tests.parts import ROOT, codex_binary
from tests.processes import command_lines_below

# `required`: without it Codex gives a server about a second, and then asks the model without its tools.
# No approval mode is set: the tools' annotations have to be enough for `codex exec`.
CONFIG: Final = """
model = {model}
model_provider = "scripted"
approval_policy = "never"
sandbox_mode = "read-only"
check_for_update_on_startup = false
web_search = "disabled"
[model_providers.scripted]
name = "scripted"
base_url = {base_url}
wire_api = "responses"
env_key = "SCRIPTED_MODEL_KEY"
requires_openai_auth = false
supports_websockets = false
request_max_retries = 0
stream_max_retries = 0
[analytics]
enabled = false
[feedback]
enabled = false
[history]
persistence = "none"
[mcp_servers.rlm]
command = {command}
args = {args}
required = true
startup_timeout_sec = 60
[mcp_servers.rlm.env]
{env}
"""
NO_HOST: Final = {"RLM_HOST": "off"}
"""All that the server starts then lives below Codex, where it is looked for."""
TAP: Final = 'tee "$0" | "$1" | tee "$2"'
RUN_TIMEOUT_S: Final = 90


@dataclass(frozen=True)
class CodexRun:
    """What is known of one finished `codex exec`."""

    events: list[dict[str, Any]]
    """Codex's own account: `--json` events."""
    requests: list[Request]
    """What the model was sent."""
    to_server: list[dict[str, Any]]
    """JSON-RPC messages from Codex to the server; empty without the tap."""
    from_server: list[dict[str, Any]]
    """JSON-RPC messages from the server to Codex; empty without the tap."""
    processes: dict[psutil.Process, str]
    """Every process seen below Codex during the run, with its command line."""

    @property
    def tool_calls(self) -> list[tuple[str, str]]:
        """Tool and status of each MCP call, as Codex reported them."""
        done = [event["item"] for event in self.events if event["type"] == "item.completed"]
        return [(item["tool"], item["status"]) for item in done if item["type"] == "mcp_tool_call"]

    @property
    def last_message(self) -> str:
        """The assistant's last message, as Codex reported it."""
        done = [event["item"] for event in self.events if event["type"] == "item.completed"]
        return str([item["text"] for item in done if item["type"] == "agent_message"][-1])


def run_codex(  # noqa: PLR0913 (each of these is what one of the conversations differs in)
    script: Script,
    directory: Path,
    *,
    model: str,
    tapped: bool = False,
    files: Mapping[str, str] | None = None,
    env: Mapping[str, str] = NO_HOST,
    ended_by: signal.Signals | None = None,
    agents: Mapping[str, Script] | None = None,
) -> CodexRun:
    """Run one conversation to its end in `directory`; raise what its script raised.

    Args:
        script: what the model says.
        directory: an empty directory for Codex's home, its working directory and the logs.
        model: `"fake-model"` is unknown to Codex's catalog and calls tools directly; `"gpt-6-sol"` uses code mode.
        tapped: record the wire with a `tee` on each side of the server. Without it Codex starts `bin/rlm-mcp` itself.
        files: name and text of the files in Codex's working directory, which is the server's too.
        env: what Codex sets for its server.
        ended_by: Codex gets this signal where the script ends, and its last message never arrives.
        agents: what sub-agents say, as `ScriptedModel` has it.
    """
    binary = codex_binary()
    work, wire_in, wire_out = directory / "work", directory / "to_server.jsonl", directory / "from_server.jsonl"
    work.mkdir()
    for name, text in (files or {}).items():
        (work / name).write_text(text, encoding="utf-8")
    server = str(ROOT / "bin" / "rlm-mcp")
    command = ["sh", "-c", TAP, str(wire_in), server, str(wire_out)] if tapped else [server]
    processes: dict[psutil.Process, str] = {}

    def end() -> None:
        if ended_by is not None:
            codex.send_signal(ended_by)
            # Else its last message races the signal, and Codex has ended by itself if that wins (seen once).
            codex.wait(RUN_TIMEOUT_S)

    endpoint = ScriptedModel(
        script,
        on_request=lambda: processes.update(command_lines_below(codex.pid)),
        on_end=end,
        agents=agents or {},
    )
    with endpoint:
        values = {"model": model, "base_url": endpoint.base_url, "command": command[0], "args": command[1:]}
        table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in env.items())
        config = CONFIG.format(env=table, **{key: json.dumps(value) for key, value in values.items()})
        (directory / "config.toml").write_text(config)
        codex = _started(binary, directory, work)
        try:
            out, err = codex.communicate(timeout=RUN_TIMEOUT_S)
        finally:
            codex.kill()
    endpoint.finish(err.decode())
    assert (codex.returncode == 0) is (ended_by is None), err.decode()
    return CodexRun(_json_lines(out), endpoint.requests, _logged(wire_in), _logged(wire_out), processes)


def _started(binary: Path, home: Path, work: Path) -> subprocess.Popen[bytes]:
    """Codex with a home of its own; with an open standard input it would wait for more of its prompt."""
    return subprocess.Popen(
        [str(binary), "exec", "--json", "--skip-git-repo-check", "-C", str(work), "go"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CODEX_HOME": str(home),
            "SCRIPTED_MODEL_KEY": "any",
            "LANG": "C.UTF-8",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _logged(path: Path) -> list[dict[str, Any]]:
    return _json_lines(path.read_bytes()) if path.exists() else []


def _json_lines(data: bytes) -> list[dict[str, Any]]:
    """Every line must be JSON: stdout carries the protocol only. Split at newlines alone: JSON may hold U+2028."""
    return [json.loads(line) for line in data.split(b"\n") if line]
