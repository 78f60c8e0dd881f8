"""What both parts of the demo do as an agent does: call the server's tools, and account for what comes back.

Is: an MCP client's calls. Is not: the questions (`stdlib_questions.py`, `large_questions.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mcp import Client

ROOT: Final = Path(__file__).resolve().parent.parent


class SessionFailed(Exception):
    """The server refused a call, or a step did not end well; the demo has nothing to check."""


class Agent:
    """Calls the server's tools, and accounts for every character that came back."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.chars_received = 0
        self.session_id = ""

    async def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """One tool call; returns the envelope's `data`.

        Raises:
            SessionFailed: the server refused, with its words.
        """
        result = await self._client.call_tool(tool, arguments)
        (block,) = result.content
        assert block.type == "text"
        self.chars_received += len(block.text)
        envelope = json.loads(block.text)
        if not envelope["ok"]:
            raise SessionFailed(f"{tool}: {envelope['error']['message']} {envelope['error']['next_step']}")
        data: dict[str, Any] = envelope["data"]
        return data

    async def open(self, paths: Sequence[str], **limits: int) -> tuple[dict[str, Any], float]:
        """Open a session over files; returns what the server says of the context, and how many seconds it took."""
        started = time.perf_counter()
        opened = await self.call("rlm_init_context", context_paths=list(paths), **limits)
        self.session_id = opened["session_id"]
        return opened["context"], time.perf_counter() - started

    async def step(self, title: str, code: str) -> None:
        """One step, waited for to its end, with a line on what it printed and how long it took."""
        started = time.perf_counter()
        data = await self.call("rlm_run_repl", session_id=self.session_id, code=code)
        while data["status"] == "running":
            data = await self.call("rlm_await_step", session_id=self.session_id, step_index=data["step_index"])
        seconds = time.perf_counter() - started
        if data["status"] != "ok":
            raise SessionFailed(f"step {data['step_index']} ended with {data['status']}: {data['error'] or data}")
        said = (data["stdout"] or data["result"] or "").strip()
        print(f"  {data['step_index']:2}  {title:<12} {seconds:7.2f} s  {said}", flush=True)


def first_of(failures: BaseException) -> BaseException:
    """The exception that exception groups were wrapped around."""
    return first_of(failures.exceptions[0]) if isinstance(failures, BaseExceptionGroup) else failures


async def show_trace(agent: Agent) -> None:
    """The trace, one line an event; it stays readable after the end of the session."""
    print("\nTrace")
    trace = await agent.call("rlm_get_trace", session_id=agent.session_id)
    for event in trace["events"]:
        used = event["guardrail_snapshot"]["budget_used"]
        what = f"{event['action']:<12} {event['result_status']:<9} {event['duration_ms']:6} ms"
        print(f"  {event['ts']}  {what}  {used:6} characters used so far")
