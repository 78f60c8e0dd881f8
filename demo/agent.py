"""What both parts of the demo do as an agent would: call the server's tools, and count what comes back.

Is: an MCP client's calls. Is not: the questions (`stdlib_questions.py`, `large_questions.py`).
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mcp import Client

from bench.progress import Heard, heard

CITATIONS_SHOWN: Final = 3
"""The first ones, and the last ones."""
ROOT: Final = Path(__file__).resolve().parent.parent


def say_server(hosts: Path) -> None:
    """Say which of the two ways the session is served."""
    who = "A host that nobody else has" if any(hosts.glob("*.sock")) else "The process that was started"
    print(f"{who} serves this session.")


def until_ended(hosts: Path) -> None:
    """Return when no host has its place in this directory any more: each holds a lock there until its end."""
    for path in hosts.glob("*.lock"):
        with suppress(FileNotFoundError), path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)


class SessionFailed(Exception):
    """The server refused a call, or a step failed, so the demo has nothing to check."""


class Agent:
    """Calls the server's tools, and counts every character that comes back."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.chars_received = 0
        self.session_id = ""

    async def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """One tool call; returns the envelope's `data`.

        Raises:
            SessionFailed: the server refused, with its words.
        """
        return await self._data(tool, arguments)

    async def _data(self, tool: str, arguments: dict[str, object], heard: Heard | None = None) -> dict[str, Any]:
        envelope = await self._answer(tool, arguments, heard)
        if not envelope["ok"]:
            raise SessionFailed(f"{tool}: {envelope['error']['message']} {envelope['error']['next_step']}")
        data: dict[str, Any] = envelope["data"]
        return data

    async def refusal(self, tool: str, **arguments: object) -> dict[str, Any]:
        """One tool call that is to be refused; returns the envelope's `error`.

        Raises:
            SessionFailed: the server did what was asked for.
        """
        envelope = await self._answer(tool, arguments)
        if envelope["ok"]:
            raise SessionFailed(f"{tool}: was to be refused, and was not: {envelope['data']}")
        error: dict[str, Any] = envelope["error"]
        return error

    async def _answer(self, tool: str, arguments: dict[str, object], heard: Heard | None = None) -> dict[str, Any]:
        """`heard`: is told how far the call is."""
        result = await self._client.call_tool(tool, arguments, progress_callback=heard)
        (block,) = result.content
        assert block.type == "text"
        self.chars_received += len(block.text)
        envelope: dict[str, Any] = json.loads(block.text)
        return envelope

    async def open(self, paths: Sequence[str], **limits: int) -> tuple[dict[str, Any], float]:
        """Open a session over files; returns what the server says about the context, and the seconds it took."""
        started = time.perf_counter()
        with heard("bytes of the context") as on_progress:
            opened = await self._data("rlm_init_context", {"context_paths": list(paths), **limits}, on_progress)
        self.session_id = opened["session_id"]
        return opened["context"], time.perf_counter() - started

    async def step(self, title: str, code: str) -> None:
        """Run one step to its end, and print a line on its output and its duration."""
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
    """The exception inside nested exception groups."""
    return first_of(failures.exceptions[0]) if isinstance(failures, BaseExceptionGroup) else failures


def say_citations(final: dict[str, Any]) -> None:
    """What the server found of the answer's citations in the sources, and how much of them that is."""
    cited = final["citations"]
    print(f"\nCitations: {len(cited)}, checked by the server against the files' own bytes")
    left = cited[CITATIONS_SHOWN:-CITATIONS_SHOWN]
    for one in [*cited[:CITATIONS_SHOWN], *cited[CITATIONS_SHOWN:][-CITATIONS_SHOWN:]]:
        text = one["text"].strip().partition("\n")[0]
        print(f"  [{one['id']}] {one['doc']}:{one['start_line']} {one['status']}: {text}")
    if left:
        print(f"  ... and {len(left):,} between them")
    coverage = final["coverage"]
    print(
        f"Coverage: {coverage['cited']:,} of {coverage['chars']:,} characters cited; the steps' output had "
        f"{coverage['delivered']['chars']:,} ({coverage['delivered']['per_cent']:g} %)"
    )


async def show_trace(agent: Agent) -> None:
    """The trace, one line per event; it can still be read after the session has ended."""
    print("\nTrace")
    offset: int | None = 0
    while offset is not None:
        page = await agent.call("rlm_get_trace", session_id=agent.session_id, offset=offset)
        for event in page["events"]:
            used = event["guardrail_snapshot"]["budget_used"]
            what = f"{event['action']:<12} {event['result_status']:<9} {event['duration_ms']:6} ms"
            print(f"  {event['ts']}  {what}  {used:6} characters used so far")
        offset = page["next_offset"]
