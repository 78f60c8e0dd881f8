"""A server with a neighbour session, and sessions in which bombs go off.

Is: what every bomb is judged by: the neighbour's answers while it runs, the size of what is the host's own, the session
afterwards. Is not: the bombs. Every wait is for an event; no figure is of a clock.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Final

import psutil

from rlm_kernel_mcp.store.store import SessionRecord
from tests.escape.canaries import PROGRAM
from tests.mcp.line_client import SERVE, WAIT_S, LineClient
from tests.processes import largest_bytes
from tests.records import record_of
from tests.specs import write_spec

MEMORY_MB: Final = 64
"""The smallest that a user may set: there a bomb is through before anybody outside has looked twice."""
GROWTH_BYTES_MAX: Final = 50 << 20
WITHOUT_NAMESPACES: Final = (sys.executable, "-I", str(PROGRAM / "serve_without_namespaces.py"), "serve")
NO_LIMITS: Final = {"max_steps": 100_000, "max_runtime_ms": 3_600_000, "budget_limit": 1_000_000_000}
BEGUN: Final = "print('begun', flush=True)\n"
ROUNDS: Final = 3
LONG_MS: Final = 600_000


class Machine:
    """One server in one tier and import policy."""

    def __init__(self, directory: Path, tier: str, import_policy: str, *, patient: bool = False) -> None:
        """`patient`: it waits for a kernel that obeys an interrupt half as long as a test does, on a busy machine too.

        Not longer: the second SIGINT, which counts where the code had no memory for the first, comes after half of it,
        and `rlm_interrupt` waits for it.
        """
        self.tier, self.import_policy = tier, import_policy
        self.state_dir = directory.parent / f"{directory.name}.state"
        settings = {"RLM_IMPORT_POLICY": import_policy, "RLM_MEMORY_LIMIT_MB": str(MEMORY_MB)}
        if patient:
            write_spec(directory, "patient", {"interrupt_grace_ms": int(WAIT_S * 1_000 / 2)})
            settings |= {"RLM_KERNEL": "patient", "JUPYTER_PATH": str(directory)}
        self.client = LineClient(directory, settings, SERVE if tier == "ns" else WITHOUT_NAMESPACES)
        self.client.initialize()
        self.neighbour = self.open_session()

    def close(self) -> None:
        """End the server, which must do so by itself."""
        try:
            assert self.client.end() == 0
        finally:
            self.client.kill()

    def open_session(self) -> str:
        """A session with one value of its own."""
        session = self.client.open_session("some text", **NO_LIMITS)
        assert self.client.run(session, "mine = 'kept'")["status"] == "ok"
        kept, deadline = self.state_dir / "snapshots" / f"{session}.json", time.monotonic() + WAIT_S
        while not kept.is_file():
            assert time.monotonic() < deadline, "its value was not kept"
            self.client.pause()
        return session

    def begin(self, session: str, code: str) -> int:
        """Start a bomb and return once its code runs: the request that waits for its end."""
        index = self.client.run(session, BEGUN + code, timeout_ms=LONG_MS, wait_ms=0)["step_index"]
        deadline = time.monotonic() + WAIT_S
        while "begun" not in self._partial(session, index):
            assert time.monotonic() < deadline, "the bomb's code does not run"
            self.client.pause()
        return self.client.begin(
            "rlm_await_step", {"session_id": session, "step_index": index, "wait_ms": int(WAIT_S * 1000)}
        )

    def _partial(self, session: str, index: int) -> str:
        data = self.client.data("rlm_await_step", session_id=session, step_index=index, wait_ms=0, max_output_chars=100)
        assert data["status"] == "running", data
        stdout: str = data["stdout"]
        return stdout

    def neighbour_answers_before(self, request: int) -> None:
        """Its variables and its steps, several times; the bomb's own answer must still be out after them."""
        for number in range(ROUNDS):
            found = self.client.data("rlm_get_var", session_id=self.neighbour, var_name="mine")
            assert found["value"] == "kept"
            step = self.client.run(self.neighbour, f"print(mine, {number})")
            assert (step["status"], step["stdout"], step["lost"]) == ("ok", f"kept {number}\n", None)
        assert all(message.get("id") != request for message in self.client.seen), "the bomb ended too soon"

    def interrupt(self, session: str, request: int) -> dict[str, Any]:
        """End a bomb as the contract says; what `rlm_interrupt` and who waited for the step are told is the same."""
        told = self.client.data("rlm_interrupt", session_id=session)
        waited = self.client.result(request)["structuredContent"]["data"]
        assert (told["status"], told["step_index"]) == (waited["status"], waited["step_index"])
        return told

    def still_has_its_value(self, session: str, *, lost: bool = False) -> None:
        """The session runs honest code, in the kernel it had or in a fresh one with its value restored."""
        data = self.client.run(session, "taken = parts = end = None\nmine")
        assert (data["status"], data["result"]) == ("ok", "'kept'"), data
        assert lost or data["lost"] is None, data

    def end_session(self, session: str) -> None:
        """Finalize it, which ends its kernel; what still runs there after a failed test is ended first."""
        self.client.data("rlm_interrupt", session_id=session)
        self.client.data("rlm_finalize", session_id=session, final_text="done")

    def host_bytes(self, session: str) -> int:
        """The largest resident sizes that the server, its fork server and the session's monitor ever had."""
        server = psutil.Process(self.client.server_pid)
        own = {server.pid, *(child.pid for child in server.children())}
        monitor = psutil.Process(self.kernel_pid(session)).parent()
        if monitor is not None:
            own.add(monitor.pid)
        return sum(largest_bytes(pid) for pid in own)

    def kernel_pid(self, session: str) -> int:
        """As the host numbers it."""
        return self.record(session).kernel_pid

    def record(self, session: str) -> SessionRecord:
        """What the store knows of the session."""
        return record_of(self.state_dir, session)
