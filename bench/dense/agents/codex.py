"""Codex CLI as the agent: the user's own, with the user's login and model.

Is: `codex exec` with our server beside whatever else the user has configured, and its account of tokens. Is not: a
configuration that lasts: all of it is on the command line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping

from bench.dense.agents.job import ENDPOINT_NAMES, Job, Missing, Used
from tests.parts import ROOT

RUN_S = 3_600


class Codex:
    """One model of Codex's, or its default, job after job."""

    def __init__(self, model: str | None, binary: str = "codex", run_s: float = RUN_S) -> None:
        """Raises: Missing, where there is no Codex."""
        self.name = f"codex ({model or 'its default model'})"
        found = shutil.which(binary)
        if found is None:
            raise Missing(f"There is no {binary} on PATH; --codex names it. See github.com/openai/codex.")
        self._binary, self._model, self._run_s = found, model, run_s

    def run(self, job: Job) -> Used:
        """One `codex exec` to its end."""
        argv = [self._binary, "exec", "--json", "--skip-git-repo-check", "-s", "read-only", "-C", str(job.directory)]
        argv += ["-m", self._model] if self._model else []
        for name, value in _server(job.settings):
            argv += ["-c", f"mcp_servers.rlm.{name}={value}"]
        try:
            done = subprocess.run(
                [*argv, job.prompt], stdin=subprocess.DEVNULL, capture_output=True, timeout=self._run_s, check=False
            )
        except subprocess.TimeoutExpired:
            return Used(failure=f"no end within {self._run_s:,.0f} s")
        used = _account(json.loads(line) for line in done.stdout.split(b"\n") if line.startswith(b"{"))
        if done.returncode and not used.failure:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            used.failure = f"codex ended with status {done.returncode}, and said: {last[0]}"[:400]
        return used


def _server(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Our server's settings in Codex's configuration, as TOML. No key is among them: Codex passes it by its name."""
    names = [name for name in ENDPOINT_NAMES if name in os.environ]
    yield "command", json.dumps(str(ROOT / "bin" / "rlm-mcp"))
    yield "required", "true"
    yield "startup_timeout_sec", "60"
    yield "tool_timeout_sec", "900"
    yield "default_tools_approval_mode", json.dumps("approve")
    yield "env", "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()) + "}"
    yield "env_vars", json.dumps(names)


def _account(events: Iterator[dict[str, object]]) -> Used:
    used = Used()
    for event in events:
        match event:
            case {
                "type": "turn.completed",
                "usage": {"input_tokens": int(tokens_in), "output_tokens": int(tokens_out)},
            }:
                used.tokens_in += tokens_in
                used.tokens_out += tokens_out
            case {"type": "turn.failed", "error": {"message": str(message)}}:
                used.failure = f"codex: {message}"[:400]
            case {"type": "item.completed", "item": {"type": "agent_message", "text": str(text)}}:
                used.said = text
            case {"type": "item.completed", "item": {"type": "mcp_tool_call"}}:
                used.calls += 1
    return used
