"""One server over stdio, hostile sessions in it, and an honest neighbour that must notice nothing.

Is: real kernels whose code is the adversary, seen as a client sees them, with every line of the server's stdout read
strictly. Is not: a peer that is not a kernel (`tests/escape/host/`) or the way out of a kernel (`tests/escape/walls/`).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import psutil

from tests.mcp.line_client import SERVE, WAIT_S, LineClient, data_of
from tests.processes import bounded_growth
from tests.records import record_of
from tests.specs import write_spec

GROWTH_MB: Final = 50
"""The server may grow by this much, whatever its kernels do."""
STEP_MS: Final = int(WAIT_S * 1_000)
"""Of a step that ends by itself, however slow the machine is; one that does not has a deadline of its own."""
LIMITS: Final = {
    "max_steps": 10_000,
    "max_runtime_ms": 3_600_000,
    "budget_limit": 1_000_000_000,
    "step_timeout_ms": STEP_MS,
}
POLICY: Final = {"interrupt_grace_ms": 200, "snapshots": {"total_mb": 0}}
"""A kernel that does not obey is not waited for; what is kept of it is the subject of few tests."""
CHANNELS: Final = """
from IPython import get_ipython
import gc, os, signal, sys, threading, time
kernel = get_ipython().kernel
"""
"""Needs every module."""
FORGE: Final = (
    CHANNELS
    + """
say, parent, ident = kernel.session.send, kernel.get_parent(), kernel._parent_ident["shell"]

def forge(msg_type, content, channel="iopub", **options):
    'As if the kernel had said it of the running step.'
    if channel == "iopub":
        say(kernel.iopub_socket, msg_type, content, parent=parent, **options)
    else:
        say(kernel.shell_stream, msg_type, content, parent=parent, ident=ident, **options)
        kernel.shell_stream.flush()

def claim_reply():
    forge("execute_reply", {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}, "shell")

def claim_idle():
    forge("status", {"execution_state": "idle"})

def mute():
    'What the kernel itself says from now on does not arrive.'
    kernel.session.send = lambda *args, **options: None

from rlm_kernel_mcp.in_kernel.ipython.process_state import ProcessState
ProcessState.put_back = lambda self: None  # handlers and hooks stay as this step leaves them

go = threading.Event()
signal.signal(signal.SIGUSR2, lambda *_: go.set())

def run_on():
    'Work from a signal on; until then nothing is used.'
    go.wait()
    spin(0.7)

def spin(cpu_s=60):
    'Work so long, whatever comes, and never return.'
    end = time.process_time() + cpu_s
    while True:
        try:
            while time.process_time() < end:
                pass
            time.sleep(60)
        except BaseException:
            pass
"""
)
"""What a step needs to speak for its kernel (`forge` sends any message, of any shape) and to run on."""


class KernelServer:
    """One server in one import policy, and the neighbour."""

    def __init__(
        self, directory: Path, import_policy: str, policy: dict[str, Any] | None = None, argv: tuple[str, ...] = SERVE
    ) -> None:
        work = directory / "work"
        work.mkdir(parents=True)
        write_spec(directory, "hostile", POLICY if policy is None else policy)
        self.state_dir = directory / "work.state"
        self.import_policy = import_policy
        settings = {"RLM_KERNEL": "hostile", "JUPYTER_PATH": str(directory), "RLM_IMPORT_POLICY": import_policy}
        self.client = LineClient(work, settings, argv)
        self.client.on_line = self._heard
        self.client.initialize()
        self.neighbour = self.open()
        self.client.run(self.neighbour, "mine = 'untouched'")

    def _heard(self, line: bytes) -> None:
        """Nothing but whole answers of ours stands on stdout."""
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        assert set(message) in (
            {"jsonrpc", "id", "result"},
            {"jsonrpc", "id", "error"},
            {"jsonrpc", "method", "params"},
        )

    def close(self) -> None:
        self.client.kill()

    def open(self, context: str = "some text", **limits: int) -> str:
        return self.client.open_session(context, **{**LIMITS, **limits})

    def begin(self, session: str, code: str, **arguments: Any) -> int:
        """Start a step and do not wait for it."""
        return self.client.begin("rlm_run_repl", {"session_id": session, "code": code, **arguments})

    def run(self, session: str, code: str, **arguments: Any) -> dict[str, Any]:
        """A step while which the neighbour works."""
        request = self.begin(session, code, **arguments)
        self.check_neighbour()
        return data_of(self.client.result(request))

    def check_neighbour(self) -> None:
        """It runs a step, and has what it had."""
        data = self.client.run(self.neighbour, "mine")
        assert (data["status"], data["result"], data["lost"]) == ("ok", "'untouched'", None), data

    def row(self, session: str) -> dict[str, Any]:
        """The session's row in the list."""
        (row,) = (row for row in self.client.data("rlm_list_sessions")["sessions"] if row["session_id"] == session)
        found: dict[str, Any] = row
        return found

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so that tells nobody when it becomes so."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, "it did not become so"
            self.client.pause()

    def kernel(self, session: str) -> psutil.Process:
        """The session's kernel, measured by somebody else than the server."""
        return psutil.Process(record_of(self.state_dir, session).kernel_pid)

    def connection_file(self, session: str) -> Path:
        """Where a console finds the session's kernel."""
        return Path(record_of(self.state_dir, session).connection_file)

    def until_used(self, kernel: psutil.Process, more_ms: int) -> int:
        """Wait until a kernel has used more than so much processor time from now on; returns how much it was."""
        began_ms = cpu_ms(kernel)
        return self.until_at(kernel, cpu_ms(kernel) + more_ms) - began_ms

    def until_at(self, kernel: psutil.Process, at_ms: int) -> int:
        """Wait until a kernel has used more than so much processor time in all; returns how much it is."""
        deadline = time.monotonic() + WAIT_S
        while (used_ms := cpu_ms(kernel)) <= at_ms:
            assert time.monotonic() < deadline, f"it has used {used_ms} ms"
            with contextlib.suppress(psutil.TimeoutExpired):
                kernel.wait(0.02)
        return used_ms

    def charged(self, session: str) -> list[str]:
        """What the trace has of time that was charged between steps."""
        events = self.client.data("rlm_get_trace", session_id=session)["events"]
        return [event["summary"] for event in events if event["result_status"] == "charged"]

    def give_up(self, session: str) -> None:
        self.client.call("rlm_finalize", session_id=session, final_text="done")

    def bounded_memory(self, limit_mb: int = GROWTH_MB) -> AbstractContextManager[None]:
        """At no moment within may the server be larger than at the beginning by more than this."""
        return bounded_growth(self.client.server_pid, limit_mb)


def cpu_ms(process: psutil.Process) -> int:
    """Processor time that a process has used."""
    times = process.cpu_times()
    return int((times.user + times.system) * 1_000)
