"""Our server over MCP stdio, driven line by line, so that the client's own work hardly shows in the figures."""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.mcp.line_client import CLIENT, SERVE, LineClient

WAIT_S = 600
"""Measured calls may take long; a server that says nothing for this long ends the run."""
NO_LIMITS = {"max_steps": 1_000_000, "budget_limit": 1_000_000_000, "max_runtime_ms": 86_400_000}

Call = tuple[str, dict[str, Any]]
"""A tool and its arguments."""


class OurServer:
    """One server process. `directory` is its working directory, its context root and where its state is kept."""

    def __init__(self, directory: Path, argv: Sequence[str] = SERVE, env: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        settings = {"RLM_STATE_DIR": str(directory / "state"), **(env or {})}
        self._client = LineClient(directory, settings, tuple(argv), subprocess.DEVNULL, keeps=False)
        self._client.wait_s = WAIT_S

    @property
    def pid(self) -> int:
        return self._client.process.pid

    @property
    def output(self) -> IO[bytes]:
        """What can be read when it has said something, as long as it was asked one thing at a time."""
        return self._client.stdout

    def initialize(self) -> None:
        """Return when `initialize` has been answered."""
        self._receive_answer(self._client.send("initialize", CLIENT))

    def initialized(self) -> None:
        """The rest of the handshake."""
        self._client.notify("notifications/initialized")
        self._receive_answer(self._client.send("tools/list", {}))

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """`data` of one call."""
        _, data = self._receive_answer(self.begin((tool, arguments)))
        return data

    def begin(self, call: Call) -> int:
        """Send a call without waiting for it; returns its id."""
        tool, arguments = call
        return self._client.begin(tool, arguments)

    def receive(self, wanted: int | None = None) -> dict[str, Any]:
        """The next answer, or the answer to one request, as it comes over the wire, refused or not."""
        while True:
            message = self._client.receive()
            if "id" in message and wanted in (None, message["id"]):
                return message

    def calls(self, first: Sequence[Call], again: int) -> float:
        """Make these calls at once, repeat each when it is answered, up to `again` answers in all; returns seconds."""
        begin = time.perf_counter()
        waiting = {self.begin(call): call for call in first}
        answered = 0
        while waiting:
            request_id, _ = self._receive_answer()
            call = waiting.pop(request_id)
            answered += 1
            if answered + len(waiting) < again:
                waiting[self.begin(call)] = call
        return time.perf_counter() - begin

    def waits_during(self, costly: Call | bytes, short: Call) -> list[float]:
        """How long a short call takes, in ms, repeated while a costly call or line is served or refused."""
        begun = None if isinstance(costly, bytes) else self.begin(costly)
        if isinstance(costly, bytes):
            self._client.send_line(costly)
        waits: list[float] = []
        while begun is not None or len(waits) < 20:
            begin = time.perf_counter()
            request_id = self.begin(short)
            while (answered := self.receive()["id"]) != request_id:
                begun = None if answered == begun else begun
            waits.append((time.perf_counter() - begin) * 1_000)
        return waits

    def open_session(self, context_text: str = "a small text", **arguments: Any) -> str:
        """A session without limits; returns its handle."""
        source = {} if "context_paths" in arguments else {"context_text": context_text}
        session_id: str = self.call("rlm_init_context", **source, **NO_LIMITS, **arguments)["session_id"]
        return session_id

    def step(self, session_id: str, code: str, **arguments: Any) -> dict[str, Any]:
        """`data` of a step."""
        return self.call("rlm_run_repl", session_id=session_id, code=code, **arguments)

    def start_endless(self, session_id: str, code: str) -> int:
        """Start a step that never ends by itself; returns its index."""
        report = self.step(session_id, code, wait_ms=200)
        assert report["status"] == "running", report
        index: int = report["step_index"]
        return index

    def finalize(self, session_id: str) -> None:
        """End a session."""
        self.call("rlm_finalize", session_id=session_id, final_text="done")

    def close(self) -> None:
        """Close its stdin and wait until it has ended."""
        self._client.end()
        self._client.stdout.close()

    def _receive_answer(self, wanted: int | None = None) -> tuple[int, dict[str, Any]]:
        """The next reply, or the reply to one request, as (its id, its data)."""
        message = self.receive(wanted)
        return message["id"], _data(message)


def calls_at_once(calls: Sequence[tuple[OurServer, Call]], again: int) -> float:
    """Make each server's call, and once more whenever it is answered, up to `again` answers in all; returns seconds."""
    begin = time.perf_counter()
    waiting = {server.output: (server, call) for server, call in calls}
    for server, call in calls:
        server.begin(call)
    begun, answered = len(calls), 0
    while answered < begun:
        readable, _, _ = select.select([*waiting], [], [], WAIT_S)
        if not readable:
            raise TimeoutError(f"none of {len(calls)} servers answered within {WAIT_S} s")
        for output in readable:
            server, call = waiting[output]
            _data(server.receive())
            answered += 1
            if begun < again:
                server.begin(call)
                begun += 1
    return time.perf_counter() - begin


def _data(message: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = message["result"]
    envelope = result.get("structuredContent")
    if len(result.get("content", ())) > 1:  # pictures, and beside them the text
        envelope = json.loads(result["content"][0]["text"])
    if envelope is None:
        return result
    if not envelope["ok"]:
        raise RuntimeError(f"the server refused: {envelope['error']}")
    data: dict[str, Any] = envelope["data"]
    return data


@dataclass(frozen=True, slots=True)
class OurServers:
    """Servers of clients that share a directory, and with it the record of all sessions."""

    directory: Path
    started: list[OurServer]

    @property
    def state(self) -> Path:
        """Where the records and the values of all sessions are kept."""
        return self.directory / "state"

    def start(self) -> OurServer:
        """One more, ready for calls."""
        server = OurServer(self.directory)
        self.started.append(server)
        server.initialize()
        server.initialized()
        return server


@contextmanager
def our_servers() -> Iterator[OurServers]:
    """A directory for servers, which are ended with it."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as around:
        servers = OurServers(Path(tempfile.mkdtemp(dir=around)), [])
        try:
            yield servers
        finally:
            for server in servers.started:
                server.close()


@contextmanager
def our_server(env: Mapping[str, str] | None = None, argv: Sequence[str] = SERVE) -> Iterator[OurServer]:
    """A server ready for calls, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as around:
        directory = Path(tempfile.mkdtemp(dir=around))
        server = OurServer(directory, argv, env)
        try:
            server.initialize()
            server.initialized()
            yield server
        finally:
            server.close()
