"""A session under work: ordinary steps, a model of what they leave, and the checks of both against the server.

Is: what an agent does, over the real stdio of real servers. Is not: the faults (`soak.py`).
"""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any, Final

from tests.faults.model import GONE, Model
from tests.mcp.line_client import LineClient, data_of, error_of
from tests.specs import write_spec

CODES: Final = {"SESSION_BUSY", "KERNEL_DIED", "KERNEL_START_FAILED", "VARIABLE_NOT_FOUND", "INVALID_INPUT"}
"""Errors that a fault may lead to; any other is a failure."""
TEXT: Final = "".join(f"line {number}\n" for number in range(20_000))
LIMITS: Final = {"max_steps": 1_000_000, "budget_limit": 1_000_000_000, "max_runtime_ms": 86_400_000}
FRESH_NAMES: Final = 6
STEP_FIELDS: Final = {
    *("status", "step_index", "duration_ms", "budget", "stdout", "stderr", "result", "error"),
    *("updated_vars_summary", "guardrail_stop", "truncated", "lost"),
}
BEGIN: Final = """
n = 0
data = []
alias = data
bulk = {}
def twice(value):
    return value * 2 + n * 0
class Point:
    def __init__(self, x): self.x = x
point = Point(7)
"""
PROBE: Final = """
import json
json.dumps([
    twice(21) if 'twice' in globals() else None,
    [point.x, isinstance(point, Point)] if 'point' in globals() and 'Point' in globals() else None,
])
"""


class Workload:
    """One session, driven over one server at a time."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.random = random.Random(seed)
        self.directory = directory
        self.state = directory / "state"
        self.run_directories = directory / "run"
        self.run_directories.mkdir(mode=0o700)
        write_spec(directory / "specs", "soak", {"interrupt_grace_ms": 250})
        self.model = Model()
        self.servers = 0
        self.session_id = ""

    def start_server(self) -> LineClient:
        """Another server on the same state; the handshake is not awaited."""
        self.servers += 1
        home = self.directory / f"server{self.servers}"
        home.mkdir()
        return LineClient(
            home,
            {
                "RLM_STATE_DIR": str(self.state),
                "XDG_RUNTIME_DIR": str(self.run_directories),
                "JUPYTER_PATH": str(self.directory / "specs"),
                "RLM_KERNEL": "soak",
            },
        )

    def begin_session(self, client: LineClient) -> None:
        self.client = client
        self.session_id = client.data("rlm_init_context", context_text=TEXT, **LIMITS)["session_id"]
        self.model = Model()
        self.step(BEGIN, {"n": 0, "data": [], "bulk": {}, "functions": True})

    # --- steps -----------------------------------------------------------------------------------

    def step(self, code: str, changes: dict[str, Any], **arguments: Any) -> dict[str, Any] | None:
        """Run a step to its end and keep the model true; None where the server refused it."""
        return self.finish(self.begin(code, **arguments), changes)

    def begin(self, code: str, **arguments: Any) -> int:
        return self.client.begin("rlm_run_repl", {"session_id": self.session_id, "code": code, **arguments})

    def finish(self, request: int, changes: dict[str, Any]) -> dict[str, Any] | None:
        result = self.client.result(request)
        if result.get("isError"):
            assert error_of(result)["code"] in CODES, result
            self.model.step_unknown(changes)
            return None
        return self.finished(data_of(result), changes)

    def finished(self, report: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        """Wait for the end of a step that was answered, and keep the model true."""
        self._heard(report)
        while report["status"] == "running":
            report = self.client.data("rlm_await_step", session_id=self.session_id, step_index=report["step_index"])
            self._heard(report)
        self.model.step_done(report, changes)
        return report

    def _heard(self, report: dict[str, Any]) -> None:
        """Whatever the fault, a report has every field of the contract."""
        assert STEP_FIELDS <= set(report) <= STEP_FIELDS | {"note", "subcalls"}, report
        self.model.told(report["lost"])

    def work(self) -> None:
        """One ordinary step, chosen at random among those whose names are known."""
        values = self.model.values
        choices = [self._compute, self._print, self._fail, self._fresh]
        if {"n", "data", "bulk"} <= values.keys():
            choices += [self._rebind, self._grow, self._replace]
        self.random.choice(choices)()

    def _rebind(self) -> None:
        n = self.model.values["n"]
        if n is not GONE:
            self.step("n = n + 1", {"n": n + 1})

    def _grow(self) -> None:
        """In place, through another name where there is one."""
        data = self.model.values["data"]
        if data is not GONE:
            code = "(alias if 'alias' in globals() and alias is data else data).append(len(data))"
            self.step(code, {"data": [*data, len(data)]})

    def _replace(self) -> None:
        bulk = self.model.values["bulk"]
        if bulk is not GONE:
            changed = {**bulk, f"k{self.random.randrange(20)}": "x" * self.random.choice([1, 1_000, 300_000])}
            self.step(f"bulk = {changed!r}" if len(repr(changed)) < 150_000 else "bulk = {}", self._bulk(changed))

    @staticmethod
    def _bulk(changed: dict[str, Any]) -> dict[str, Any]:
        return {"bulk": changed if len(repr(changed)) < 150_000 else {}}

    def _fresh(self) -> None:
        """A name that was not there before, or goes."""
        name = f"fresh{self.random.randrange(FRESH_NAMES)}"
        if self.random.random() < 0.3:
            self.step(f"globals().pop({name!r}, None)", {name: GONE})
        else:
            value = [self.random.randrange(1_000)]
            self.step(f"{name} = {value!r}", {name: value})

    def _print(self) -> None:
        report = self.step("print(context[:30_000])\nlen(context)", {}, max_output_chars=100_000)
        if report is not None and report["status"] == "ok":
            assert (report["result"], report["stdout"]) == (str(len(TEXT)), TEXT[:30_000] + "\n")

    def _fail(self) -> None:
        self.step("1/0", {})

    def _compute(self) -> None:
        self.step("import time\nfor _ in range(20):\n    time.sleep(0.001)", {})

    # --- the invariants --------------------------------------------------------------------------

    def check(self) -> None:
        """What was acknowledged is written, and no value is wrong of which no reply said so."""
        self.step("None", {})  # tells what was lost
        for name in ("n", "data", "bulk", *(f"fresh{number}" for number in range(FRESH_NAMES))):
            self.model.read(name, self._read(name))
        self._check_functions()
        assert not self.write_failed(), f"(step, answered, written): {self.write_failed()}"
        for name, fresh in (("n", 0), ("data", []), ("bulk", {})):
            if self.model.values[name] is GONE:
                self.step(f"{name} = {fresh!r}", {name: fresh})

    def _read(self, name: str) -> Any:
        result = self.client.call("rlm_get_var", session_id=self.session_id, var_name=name, limit=200_000)
        if not result.get("isError"):
            return data_of(result)["value"]
        assert error_of(result)["code"] == "VARIABLE_NOT_FOUND", result
        return GONE

    def _check_functions(self) -> None:
        report = self.step(PROBE, {})
        if report is not None and report["status"] == "ok":
            known = {"twice", "point", "Point"} - self.model.values.keys()
            if len(known) == 3:
                assert report["result"] == "'[42, [7, true]]'", report

    def write_failed(self) -> list[tuple[int, str, str | None]]:
        """Acknowledged steps that the store does not have, or has otherwise."""
        with sqlite3.connect(f"file:{self.state}/sessions.db?mode=ro", uri=True) as database:
            query = (
                "SELECT step_index, result_status, stdout FROM events "
                "WHERE session_id = ? AND action = 'run_repl' AND code IS NOT NULL"
            )
            rows = {index: (status, stdout) for index, status, stdout in database.execute(query, (self.session_id,))}
        database.close()
        wrong = []
        for index, status in self.model.acknowledged.items():
            written, stdout = rows.get(index, (None, None))
            if written != status or stdout != self.model.outputs.get(index, stdout):
                wrong.append((index, status, written))
        return wrong
