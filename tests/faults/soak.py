"""Faults at random points of a scripted workload, and the invariants after each: `bin/soak N [--seed S]`.

The workload drives one server over its real stdio; a fault hits it, its kernel, its fork server, its disk or its pipes
at a random moment. After each: every reply is well-formed, every acknowledged step stands in the store with its status,
no value is wrong that no reply said was lost, and no process is left.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from tests.faults.model import Model
from tests.mcp.line_client import LineClient, data_of, error_of
from tests.processes import command_lines_below, left_over

CODES: Final = {"SESSION_BUSY", "KERNEL_DIED", "KERNEL_START_FAILED", "VARIABLE_NOT_FOUND", "INVALID_INPUT"}
"""Errors that a fault may lead to; any other is a failure."""
DISK_MB: Final = 48
MEND_S: Final = 20.0
"""The store tries its disk again after a second at first."""
BIG: Final = "".join(f"line {number}\n" for number in range(20_000))


class SmallDisk:
    """A file system of a few MB, so that it can be filled; only root can mount one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def mount(cls, path: Path) -> SmallDisk | None:
        path.mkdir(mode=0o700)
        if os.geteuid() != 0:
            return None
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "soak", path], check=True)
        return cls(path)

    def fill(self) -> None:
        """Take every byte that is left."""
        with (self._path / "filler").open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        (self._path / "filler").unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self._path], check=True)


class Soak:
    """One run: a workload, its model, and the faults."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.model = Model()
        self.counts: Counter[str] = Counter()
        self.servers = 0
        self.disk = SmallDisk.mount(folder / "state")
        self.client = self._start()
        self.session_id = ""
        self._new_session()

    # --- the workload ----------------------------------------------------------------------------

    def _start(self) -> LineClient:
        self.servers += 1
        home = self.folder / f"server{self.servers}"
        home.mkdir()
        client = LineClient(home, {"RLM_STATE_DIR": str(self.folder / "state")})
        client.initialize()
        return client

    def _new_session(self) -> None:
        limits = {"max_steps": 1_000_000, "budget_limit": 1_000_000_000, "max_runtime_ms": 86_400_000}
        self.session_id = self.client.data("rlm_init_context", context_text=BIG, **limits)["session_id"]
        self.model = Model()
        self.step("n = 0\ndata = []\nbulk = {}", {"n": 0, "data": [], "bulk": {}})
        self.step("def twice(value):\n    return value * 2 + n * 0", {})

    def step(self, code: str, changes: dict[str, Any], **arguments: Any) -> dict[str, Any] | None:
        """Run a step to its end and keep the model true; None where the server refused it."""
        return self.finish(self.begin(code, **arguments), code, changes)

    def begin(self, code: str, **arguments: Any) -> int:
        return self.client.begin("rlm_run_repl", {"session_id": self.session_id, "code": code, **arguments})

    def finish(self, request: int, code: str, changes: dict[str, Any]) -> dict[str, Any] | None:
        result = self.client.result(request)
        if result.get("isError"):
            assert error_of(result)["code"] in CODES, result
            self.model.uncertain |= set(changes)
            return None
        report = data_of(result)
        self.model.told(report["lost"])
        while report["status"] == "running":
            report = self.client.data("rlm_await_step", session_id=self.session_id, step_index=report["step_index"])
            self.model.told(report["lost"])
        self.model.step_done(report["step_index"], report["status"], code, changes)
        return report

    def work(self) -> None:
        """One ordinary step of the workload, chosen at random."""
        values = self.model.values
        n = values.get("n", 0)
        match self.random.randrange(5):
            case 0:
                data = values.get("data", [])
                self.step(
                    f"n = {n + 1}\ndata = {data!r} + [n]",
                    {"n": n + 1, "data": [*data, n + 1][-50:]} if len(data) < 50 else {"n": n + 1},
                )
            case 1:
                report = self.step("print(context[:40_000])\nlen(context)", {})
                if report is not None and report["status"] == "ok" and "context" not in self.model.uncertain:
                    assert report["result"] == str(len(BIG))
            case 2:
                self.step("1/0", {})
            case 3:
                key = f"k{self.random.randrange(20)}"
                bulk = {**values.get("bulk", {}), key: n}
                self.step(f"bulk = {bulk!r}", {"bulk": bulk})
            case _:
                self.step("import time\nfor _ in range(20):\n    time.sleep(0.001)", {})

    # --- the faults ------------------------------------------------------------------------------

    def inject(self) -> str:
        """One fault at a random moment of a step; returns its name."""
        faults: list[Callable[[], None]] = [
            self.kernel_killed,
            self.kernel_killed,
            self.kernel_stopped,
            self.fork_server_killed,
            self.server_killed,
            self.server_ended,
            self.pipe_closed,
            self.call_cancelled,
            self.garbage,
        ]
        if self.disk is not None:
            faults.append(self.disk_full)
        fault = self.random.choice(faults)
        fault()
        self.counts[fault.__name__] += 1
        return fault.__name__

    def _slow_step(self) -> tuple[int, str, dict[str, Any]]:
        n = self.model.values.get("n", 0)
        code = f"import time\nfor _ in range(30):\n    time.sleep(0.002)\nn = {n + 1}"
        request = self.begin(code, timeout_ms=3_000)
        self._pause()
        return request, code, {"n": n + 1}

    def _pause(self) -> None:
        """A random moment within a step. The wait is the injection's subject, not a way to hide a race."""
        signal.sigtimedwait([], self.random.uniform(0, 0.05))

    def kernel_killed(self) -> None:
        request, code, changes = self._slow_step()
        self._signal_kernel(signal.SIGKILL)
        self.finish(request, code, changes)

    def kernel_stopped(self) -> None:
        """SIGSTOP: the kernel listens to nothing; the ladder must end it."""
        n = self.model.values.get("n", 0)
        code = f"import time\ntime.sleep(0.3)\nn = {n + 1}"
        request = self.begin(code, timeout_ms=500)
        self._pause()
        self._signal_kernel(signal.SIGSTOP)
        self.finish(request, code, {"n": n + 1})

    def fork_server_killed(self) -> None:
        request, code, changes = self._slow_step()
        for child in psutil.Process(self.client.process.pid).children():
            if any("fork_server" in part for part in child.cmdline()):
                child.kill()
        self.finish(request, code, changes)

    def server_killed(self) -> None:
        _, code, changes = self._slow_step()
        self._replace_server(lambda: self.client.process.send_signal(signal.SIGKILL), code, changes)

    def server_ended(self) -> None:
        _, code, changes = self._slow_step()
        self._replace_server(lambda: self.client.process.send_signal(signal.SIGTERM), code, changes)

    def pipe_closed(self) -> None:
        _, code, changes = self._slow_step()
        self._replace_server(self.client.stdin.close, code, changes)

    def _replace_server(self, end: Callable[[], None], code: str, changes: dict[str, Any]) -> None:
        """The step's answer is never heard; another server goes on with the session."""
        del code
        below = command_lines_below(self.client.process.pid)
        end()
        self.client.process.wait(10)
        assert not left_over(below, 10), below
        self.client.kill()
        self.model.uncertain |= set(changes)
        self.client = self._start()

    def call_cancelled(self) -> None:
        """The client gives a call up; its step goes on, and its result is kept."""
        request, code, changes = self._slow_step()
        self.client.notify("notifications/cancelled", {"requestId": request, "reason": "fault"})
        rows = self.client.data("rlm_list_sessions")["sessions"]
        index = next(row["step_index"] for row in rows if row["session_id"] == self.session_id)
        report = self.client.data("rlm_await_step", session_id=self.session_id, step_index=index)
        self.model.told(report["lost"])
        self.model.step_done(index, report["status"], code, changes)

    def garbage(self) -> None:
        request, code, changes = self._slow_step()
        for line in (b"\x00\xff\xfe", b"{", b"[" * 10_000, b'{"jsonrpc": "2.0", "id": "x", "method": 5}'):
            self.client.send_line(line)
        self.finish(request, code, changes)

    def disk_full(self) -> None:
        """The store's disk has no byte left: steps go on, and what they said is written once there is room."""
        assert self.disk is not None
        self.disk.fill()
        try:
            self.work()
            self.work()
        finally:
            self.disk.free()
        deadline = time.monotonic() + MEND_S
        while self._unwritten() and time.monotonic() < deadline:
            self.step("pass", {})
        assert not self._unwritten(), self._unwritten()

    def _signal_kernel(self, signum: int) -> None:
        with sqlite3.connect(f"file:{self.folder}/state/sessions.db?mode=ro", uri=True) as database:
            row = database.execute(
                "SELECT kernel_pid FROM sessions WHERE session_id = ?", (self.session_id,)
            ).fetchone()
        if row and row[0]:
            try:
                psutil.Process(row[0]).send_signal(signum)
            except psutil.NoSuchProcess:
                return  # the fault before this one took it

    # --- the invariants --------------------------------------------------------------------------

    def check(self) -> None:
        """After a fault."""
        self.step("n = n if 'n' in globals() else -1", {})
        for name in ("n", "data", "bulk"):
            result = self.client.call("rlm_get_var", session_id=self.session_id, var_name=name, limit=200_000)
            if result.get("isError"):
                assert error_of(result)["code"] == "VARIABLE_NOT_FOUND", result
                assert name in self.model.uncertain or name not in self.model.values, f"{name} is gone without a word"
                continue
            self.model.check(name, data_of(result)["value"])
            self.model.values[name] = data_of(result)["value"]
            self.model.uncertain.discard(name)
        self._check_store()
        for name, fresh in (("n", 0), ("data", []), ("bulk", {})):
            if name not in self.model.values:
                self.step(f"{name} = {fresh!r}", {name: fresh})

    def _check_store(self) -> None:
        assert not self._unwritten(), f"(step, answered, written): {self._unwritten()}"

    def _unwritten(self) -> list[tuple[int, str, str | None]]:
        """Acknowledged steps that the store does not have, or has otherwise."""
        with sqlite3.connect(f"file:{self.folder}/state/sessions.db?mode=ro", uri=True) as database:
            columns = "SELECT step_index, result_status FROM events"
            query = f"{columns} WHERE session_id = ? AND action = 'run_repl' AND code IS NOT NULL"
            rows = dict(database.execute(query, (self.session_id,)).fetchall())
        answered = self.model.acknowledged.items()
        return [(index, status, rows.get(index)) for index, status in answered if rows.get(index) != status]

    def end(self) -> None:
        """The session's and the server's ordinary end: nothing is left."""
        below = command_lines_below(self.client.process.pid)
        self.client.data("rlm_finalize", session_id=self.session_id, final_text="done")
        assert self.client.end() == 0
        assert not left_over(below, 10), below
        self.client.kill()


def run(count: int, seed: int, folder: Path, say: Callable[[str], None]) -> Counter[str]:
    """Inject `count` faults; raises at the first broken invariant, after saying which seed and which fault."""
    soak = Soak(seed, folder)
    fault = "none yet"
    try:
        for number in range(1, count + 1):
            soak.work()
            fault = soak.inject()
            soak.check()
            if number % 50 == 0:
                say(f"{number} of {count} faults, seed {seed}: {dict(soak.counts)}")
                soak.client.data("rlm_finalize", session_id=soak.session_id, final_text="done")
                soak._new_session()
        soak.end()
    except BaseException:
        say(f"seed {seed}, after {sum(soak.counts.values())} faults, the last: {fault}; {dict(soak.counts)}")
        raise
    finally:
        soak.client.kill()
        if soak.disk is not None:
            soak.disk.unmount()
    return soak.counts


def main() -> int:
    """`bin/soak`."""
    parser = argparse.ArgumentParser(prog="bin/soak", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("count", type=int, nargs="?", default=200, help="faults to inject (default: 200)")
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() % 1_000_000, help="of the random choices (default: the clock)"
    )
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        counts = run(found.count, found.seed, Path(folder), lambda line: print(line, flush=True))
    print(json.dumps({"seed": found.seed, "faults": dict(counts)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
