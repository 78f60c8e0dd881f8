"""A client that speaks to a server line by line, as it stands on the wire.

Is: one server process, requests and answers as JSON objects, every wait bounded; the benchmark's and the soaks' client
too. Is not: the SDK's client, which could neither send what a server must refuse nor show what it was really answered,
or anything of pytest's.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from tests.mcp.own_host import OwnHost, through_front
from tests.warm.python import Forked, warm_python

WAIT_S: Final = float(os.environ.get("TESTS_WAIT_S", "60"))
"""Bound of every wait; nothing here should come near it. A soak that gets what others leave of a machine needs more."""
POLL_S: Final = 0.005
"""At most so long nobody looks for what tells nobody; the server and its kernels need the processor meanwhile."""

ENDLESS_CALL: Final = "import collections, itertools\ncollections.deque(itertools.repeat(0), maxlen=0)"
"""One call in C that never looks for signals."""

PYTHON: Final = (sys.executable, "-I")
SERVE: Final = (*PYTHON, "-m", "rlm_kernel_mcp", "serve")
CLIENT: Final = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}


class LineClient:
    """One server and the pipe to it. Its directory is the server's working directory; state and log lie in it."""

    def __init__(
        self,
        directory: Path,
        env: Mapping[str, str] | None = None,
        argv: tuple[str, ...] = SERVE,
        stderr: int | None = None,
        *,
        keeps: bool = True,
        warm: bool = True,
    ) -> None:
        """`keeps`: whether what was read stays in `seen`, so that answers may be asked for in any order.

        `warm`: whether a process that has its imports already may become the server, where there is one; not so where
        the start, the process or its end is the subject.

        Where the run goes through the front (`own_host.py`) what is started as `SERVE` is a front.
        """
        self.directory = directory
        self.host: OwnHost | None = None
        """The host that serves it, and it alone; None where its process is the server."""
        if (by_front := through_front(argv)) is not None:
            self.host, argv, warm = OwnHost(directory.stat().st_uid), by_front, False
            env = {**self.host.env, **(env or {})}
        self.log = directory.parent / f"{directory.name}.stderr"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RLM_")}
        self.env = {**inherited, "RLM_STATE_DIR": str(directory.parent / f"{directory.name}.state"), **(env or {})}
        with self.log.open("wb") as log:
            errors = log.fileno() if stderr is None else stderr
            self.process, self.stdin, self.stdout = _started(argv, directory, self.env, errors, warm=warm)
        self._rest = b""
        self._keeps = keeps
        self._next_id = 0
        self.wait_s = WAIT_S
        """Bound of the wait for one message."""
        self.seen: list[dict[str, Any]] = []
        """Every message that was read, in order."""
        self.on_line: Callable[[bytes], None] = lambda line: None
        """Told of each line as it stood on the wire."""

    def initialize(self) -> dict[str, Any]:
        """The handshake; returns the `initialize` result."""
        result: dict[str, Any] = self.request("initialize", CLIENT)["result"]
        is_served_alone = self.env.get("RLM_SANDBOX_MODE") == "container"
        assert self.host is None or is_served_alone or self.host.pid is not None, self.log.read_text()
        self.notify("notifications/initialized")
        return result

    def send_line(self, line: bytes) -> None:
        self.stdin.write(line + b"\n")
        self.stdin.flush()

    def send(self, method: str, params: object = None) -> int:
        """Send a request and return its id, without waiting."""
        self._next_id += 1
        body = {"jsonrpc": "2.0", "id": self._next_id, "method": method}
        self.send_line(json.dumps(body if params is None else {**body, "params": params}).encode())
        return self._next_id

    def notify(self, method: str, params: object = None) -> None:
        body = {"jsonrpc": "2.0", "method": method}
        self.send_line(json.dumps(body if params is None else {**body, "params": params}).encode())

    def receive(self) -> dict[str, Any]:
        """The next message from the server."""
        deadline = time.monotonic() + self.wait_s
        while b"\n" not in self._rest:
            readable, _, _ = select.select([self.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self.stdout.fileno(), 1 << 20) if readable else b""
            if not chunk:
                why = "ended its output" if readable else f"said nothing for {self.wait_s:.0f} s"
                raise AssertionError(f"the server {why}; its log:\n{self.log.read_text()[-4_000:]}")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        self.on_line(line)
        message: dict[str, Any] = json.loads(line)
        if self._keeps:
            self.seen.append(message)
        return message

    def answer(self, request_id: int | str) -> dict[str, Any]:
        """The answer to one request; answers to others stay readable."""
        for message in self.seen:
            if _answers(message, request_id):
                return message
        while not _answers(message := self.receive(), request_id):
            continue
        return message

    def request(self, method: str, params: object = None) -> dict[str, Any]:
        return self.answer(self.send(method, params))

    def begin(self, tool: str, arguments: object, meta: object = None) -> int:
        """Send a tool call without waiting for it."""
        params = {"name": tool, "arguments": arguments}
        return self.send("tools/call", params if meta is None else {**params, "_meta": meta})

    def result(self, request_id: int) -> dict[str, Any]:
        """The result of a tool call; a JSON-RPC error fails."""
        message = self.answer(request_id)
        assert "result" in message, message
        result: dict[str, Any] = message["result"]
        return result

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """A tool call's result as it stands on the wire."""
        return self.result(self.begin(tool, arguments))

    def data(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """`data` of a call that is served, after the check of the envelope."""
        return data_of(self.call(tool, **arguments))

    def error(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """`error` of a call that is refused, after the check of the envelope."""
        return error_of(self.call(tool, **arguments))

    def open_session(self, context_text: str = "some text", **limits: int) -> str:
        session_id: str = self.data("rlm_init_context", context_text=context_text, **limits)["session_id"]
        return session_id

    def run(self, session_id: str, code: str, **arguments: Any) -> dict[str, Any]:
        """`data` of a step."""
        return self.data("rlm_run_repl", session_id=session_id, code=code, **arguments)

    def pause(self) -> None:
        """Between two looks for what tells nobody that it has become so: until the server speaks, or a moment."""
        select.select([self.stdout], [], [], POLL_S)

    def wait_until_running(self, *session_ids: str) -> None:
        """Return when a step runs in each of the sessions."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            rows = self.data("rlm_list_sessions")["sessions"]
            if {row["session_id"] for row in rows if row["status"] == "running"} >= set(session_ids):
                return
            self.pause()
        raise AssertionError(f"no step runs in {session_ids}")

    def wait_for_name(self, session_id: str, name: str) -> None:
        """Return when a running step has bound the name."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if not self.call("rlm_get_var", session_id=session_id, var_name=name).get("isError"):
                return
            self.pause()
        raise AssertionError(f"{name} was not bound")

    def logged(self, text: str, since: int = 0) -> str:
        """The newest line of its log with a text, once there is one: a thread of the server's writes it.

        `since`: bytes of the log (`log_bytes`) before which no line counts.
        """
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            whole, _, _ = self.log.read_bytes()[since:].rpartition(b"\n")
            found = [line for line in whole.decode(errors="replace").splitlines() if text in line]
            if found:
                return found[-1]
            self.pause()
        raise AssertionError(f"the log does not say {text!r}:\n{self.log.read_text()[-4_000:]}")

    @property
    def log_bytes(self) -> int:
        """How long its log is by now."""
        return self.log.stat().st_size

    @property
    def server_pid(self) -> int:
        """The process that serves it."""
        return (None if self.host is None else self.host.pid) or self.process.pid

    def end(self) -> int:
        """Close the input and wait for the server's end; returns the exit status. A host is ended then."""
        self.stdin.close()
        status = self.process.wait(WAIT_S)
        if self.host is not None:
            self.host.end()
        return status

    def die(self) -> None:
        """The server, and whatever stands between it and us, is killed."""
        if self.host is not None:
            assert self.host.pid is not None
            self.process.kill()  # first: it would go on with another host
            self.process.wait(WAIT_S)
            self.host.end(signal.SIGKILL)
        self.process.kill()
        self.process.wait(WAIT_S)

    def kill(self) -> None:
        """For fixtures: end it whatever state it is in."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.host is not None:
            self.host.end()
        self.stdout.close()
        try:
            self.stdin.close()
        except BrokenPipeError:
            return


def _started(
    argv: tuple[str, ...], directory: Path, env: Mapping[str, str], errors: int, *, warm: bool
) -> tuple[subprocess.Popen[bytes] | Forked, IO[bytes], IO[bytes]]:
    """The server's process, and our ends of its input and output."""
    python = warm_python() if warm and argv[:2] == PYTHON else None
    if python is None:
        process = subprocess.Popen(
            argv, cwd=directory, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdin is not None
        assert process.stdout is not None
        return process, process.stdin, process.stdout
    (their_input, our_input), (our_output, their_output) = os.pipe(), os.pipe()
    try:
        forked = python.start(argv[2:], (their_input, their_output, errors), cwd=directory, env=env)
    finally:
        os.close(their_input)
        os.close(their_output)
    return forked, os.fdopen(our_input, "wb"), os.fdopen(our_output, "rb")


def _answers(message: object, request_id: int | str) -> bool:
    """Whether it is the answer to one request; that to a batch is a list."""
    return isinstance(message, dict) and message.get("id") == request_id


def text_of(result: dict[str, Any]) -> str:
    """The one text block of a result."""
    (text,) = (block["text"] for block in result["content"] if block["type"] == "text")
    assert isinstance(text, str)
    return text


def data_of(result: dict[str, Any]) -> dict[str, Any]:
    """`data` of a JSON result, after the check that it is the contract's envelope."""
    body = _envelope(result)
    assert body["ok"] is True, body
    assert not result.get("isError"), body
    assert set(body) == {"ok", "data"}
    data: dict[str, Any] = body["data"]
    return data


def error_of(result: dict[str, Any]) -> dict[str, Any]:
    """`error` of a JSON result, after the check that it is the contract's envelope."""
    body = _envelope(result)
    assert body["ok"] is False, body
    assert result["isError"] is True
    assert set(body) == {"ok", "error"}
    assert set(body["error"]) == {"code", "message", "next_step"}
    assert all(isinstance(part, str) and part for part in body["error"].values())
    error: dict[str, Any] = body["error"]
    return error


def _envelope(result: dict[str, Any]) -> dict[str, Any]:
    assert len(result["content"]) == 1
    text = text_of(result)
    body: dict[str, Any] = json.loads(text)
    assert result["structuredContent"] == body
    assert text == json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return body
