"""Faults at random points of a scripted workload, and the invariants after each: `bin/soak faults N [--seed S]` runs N.

The workload drives servers over their real stdio; a fault hits a server, its kernel, its fork server, its disk or its
pipes at a random moment. After each: every reply is well-formed, every acknowledged step stands in the store as it was
answered, no value is wrong of which no reply said so, and neither a process nor a run directory is left.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from tests.faults.disk import SmallDisk
from tests.faults.workload import Workload
from tests.mcp.line_client import ENDLESS_CALL, WAIT_S
from tests.processes import command_lines_below, left_over

GARBAGE: Final = (b"\x00\xff\xfe", b"{", b"[" * 10_000, b'{"jsonrpc": "2.0", "id": "x", "method": 5}', b"", b"null")
PR_SET_CHILD_SUBREAPER: Final = 36


class Soak(Workload):
    """One run: the workload and its faults. A second server stands ready, since to start one takes longest."""

    def __init__(self, seed: int, directory: Path) -> None:
        super().__init__(seed, directory)
        self.counts: Counter[str] = Counter()
        self._deck: list[Callable[[], None]] = []
        self.disk = SmallDisk.mount(self.state)
        self.client = self.standby = self.start_server()

    def start(self) -> None:
        """Begin the first session."""
        self.standby = self.start_server()
        self.client.initialize()
        self.begin_session(self.client)

    def faults(self) -> dict[Callable[[], None], int]:
        """Each with its weight: those that cost a server are the dearest."""
        found = {
            self.kernel_killed: 4,
            self.kernel_killed_between_steps: 3,
            self.kernel_killed_in_its_snapshot: 3,
            self.kernel_stopped: 2,
            self.step_that_cannot_be_stopped: 1,
            self.fork_server_killed: 2,
            self.call_cancelled: 3,
            self.garbage: 3,
            self.interrupted: 3,
            self.server_killed: 1,
            self.server_killed_in_a_snapshot: 1,
            self.server_ended: 1,
            self.input_closed: 1,
            self.output_closed: 1,
            self.two_servers: 1,
        }
        if self.disk is not None:
            found[self.disk_full] = 1
        return found

    def inject(self) -> str:
        """One fault at a random moment; returns its name."""
        if not self._deck:  # dealt, not drawn: each comes as often as its weight says, in any order
            self._deck = [fault for fault, weight in self.faults().items() for _ in range(weight)]
            self.random.shuffle(self._deck)
        fault = self._deck.pop()
        self.counts[fault.__name__] += 1
        fault()
        return fault.__name__

    # --- faults of a kernel ----------------------------------------------------------------------

    def kernel_killed(self) -> None:
        request, changes = self._slow_step()
        self._signal_kernel(signal.SIGKILL)
        self.finish(request, changes)

    def kernel_killed_between_steps(self) -> None:
        self._pause()
        self._signal_kernel(signal.SIGKILL)

    def kernel_killed_in_its_snapshot(self) -> None:
        """Right after a reply; what it had not sent is gone, and must be said to be."""
        value = [self.random.randrange(1_000)]
        self.step(f"fresh0 = {value!r}\nhuge = [bytes(3_000_000), {{n: n for n in range(30_000)}}]", {"fresh0": value})
        self._pause()
        self._signal_kernel(signal.SIGKILL)
        self.step("globals().pop('huge', None)", {})

    def kernel_stopped(self) -> None:
        """SIGSTOP: the kernel listens to nothing; the ladder must end it."""
        request = self.begin("import time\ntime.sleep(0.2)\nfresh1 = 1", timeout_ms=300)
        self._pause()
        self._signal_kernel(signal.SIGSTOP)
        self.finish(request, {"fresh1": 1})

    def step_that_cannot_be_stopped(self) -> None:
        """One call in C without end."""
        report = self.step(f"fresh2 = 2\n{ENDLESS_CALL}", {"fresh2": 2}, timeout_ms=200)
        assert report is None or report["status"] in ("timeout", "kernel_died"), report

    def fork_server_killed(self) -> None:
        request, changes = self._slow_step()
        for child in psutil.Process(self.client.process.pid).children():
            if any("fork_server" in part for part in child.cmdline()):
                child.kill()
        self.finish(request, changes)

    # --- faults of a client ----------------------------------------------------------------------

    def call_cancelled(self) -> None:
        """The client gives a call up; its step goes on, and its result is kept."""
        request, changes = self._slow_step()
        self.client.notify("notifications/cancelled", {"requestId": request, "reason": "fault"})
        rows = self.client.data("rlm_list_sessions")["sessions"]
        index = next(row["step_index"] for row in rows if row["session_id"] == self.session_id)
        self.finished(self.client.data("rlm_await_step", session_id=self.session_id, step_index=index), changes)

    def interrupted(self) -> None:
        request, changes = self._slow_step()
        self.client.data("rlm_interrupt", session_id=self.session_id)
        self.finish(request, changes)

    def garbage(self) -> None:
        request, changes = self._slow_step()
        for line in GARBAGE:
            self.client.send_line(line)
        self.finish(request, changes)

    # --- faults of a server ----------------------------------------------------------------------

    def server_killed(self) -> None:
        _, changes = self._slow_step()
        self._replace_server(self.client.process.kill, changes)

    def server_killed_in_a_snapshot(self) -> None:
        """Right after a reply, while the kernel's values are on their way to the disk."""
        value = [self.random.randrange(1_000)]
        self.step(f"fresh3 = {value!r}\nfresh4 = ['x' * 150_000]", {"fresh3": value, "fresh4": ["x" * 150_000]})
        self._pause()
        self._replace_server(self.client.process.kill, {})

    def server_ended(self) -> None:
        _, changes = self._slow_step()
        self._replace_server(self.client.process.terminate, changes)

    def input_closed(self) -> None:
        _, changes = self._slow_step()
        self._replace_server(self.client.stdin.close, changes)

    def output_closed(self) -> None:
        """Nobody reads its answers any more; its input ends a moment later, as it does with a client that is gone."""
        _, changes = self._slow_step()

        def close() -> None:
            self.client.stdout.close()
            self.client.stdin.close()

        self._replace_server(close, changes)

    def two_servers(self) -> None:
        """The second is told who has the session, and has it once that one is killed."""
        _, changes = self._slow_step()
        self.standby.initialize()
        error = self.standby.error("rlm_run_repl", session_id=self.session_id, code="1")
        assert error["code"] == "SESSION_BUSY", error
        assert f"pid {self.client.process.pid}" in error["message"], error
        self._replace_server(self.client.process.kill, changes, initialized=True)

    def _replace_server(self, end: Callable[[], None], changes: dict[str, Any], *, initialized: bool = False) -> None:
        """The step's answer is never heard; another server goes on with the session."""
        below = command_lines_below(self.client.process.pid)
        end()
        self.client.process.wait(WAIT_S)
        assert not left_over(below, WAIT_S), below
        self.client.kill()
        self.model.step_unknown(changes)
        self.client, self.standby = self.standby, self.start_server()
        if not initialized:
            self.client.initialize()

    # --- faults of the disk ----------------------------------------------------------------------

    def disk_full(self) -> None:
        """The store's disk has no byte left: steps go on, and what they said is written once there is room."""
        assert self.disk is not None
        self.disk.fill()
        try:
            self.work()
            self.work()
            if self.random.random() < 0.3:
                self.kernel_killed_between_steps()
                self.work()
        finally:
            self.disk.free()
        deadline = time.monotonic() + WAIT_S  # the store tries its disk again after a second at first
        while self.write_failed() and time.monotonic() < deadline:
            self.step("pass", {})

    # --- how they are done -----------------------------------------------------------------------

    def _slow_step(self) -> tuple[int, dict[str, Any]]:
        value = [self.random.randrange(1_000)]
        code = f"import time\nfor _ in range(30):\n    time.sleep(0.002)\nfresh5 = {value!r}"
        request = self.begin(code, timeout_ms=3_000)
        self._pause()
        return request, {"fresh5": value}

    def _pause(self) -> None:
        """A random moment. The wait is the injection's subject, not a way to hide a race."""
        signal.sigtimedwait([], self.random.uniform(0, 0.05))

    def _signal_kernel(self, signum: int) -> None:
        with sqlite3.connect(f"file:{self.state}/sessions.db?mode=ro", uri=True) as database:
            row = database.execute(
                "SELECT kernel_pid FROM sessions WHERE session_id = ?", (self.session_id,)
            ).fetchone()
        database.close()
        if row and row[0]:
            try:
                psutil.Process(row[0]).send_signal(signum)
            except psutil.NoSuchProcess:
                return  # the fault before this one took it

    def next_session(self) -> None:
        """End the session as usual, and begin another."""
        self.client.data("rlm_finalize", session_id=self.session_id, final_text="done")
        self.begin_session(self.client)

    def end(self) -> None:
        """The session's and the servers' ordinary end: nothing is left."""
        self.client.data("rlm_finalize", session_id=self.session_id, final_text="done")
        self.standby.initialize()
        self.standby.data("rlm_list_sessions")  # its start sweeps what the last killed server left
        for client in (self.client, self.standby):
            below = command_lines_below(client.process.pid)
            assert client.end() == 0
            assert not left_over(below, WAIT_S), below
        assert not left_over(psutil.Process().children(recursive=True), WAIT_S), "whoever lost its parent is ours"
        directories = [path for path in self.run_directories.glob("*/*") if path.is_dir()]
        assert directories == [], directories
        assert list((self.state / "snapshots").glob("*")) == []

    def close(self) -> None:
        """Whatever state it is in."""
        self.client.kill()
        self.standby.kill()
        if self.disk is not None:
            self.disk.unmount()


def run(count: int, seed: int, directory: Path, say: Callable[[str], None]) -> Counter[str]:
    """Inject `count` faults; raises at the first broken invariant, after saying which seed and which fault."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    soak = Soak(seed, directory)
    fault = "none yet"
    try:
        soak.start()
        for number in range(1, count + 1):
            soak.work()
            fault = "one that is under way"
            fault = soak.inject()
            soak.check()
            if number % 50 == 0:
                say(f"{number} of {count} faults, seed {seed}: {dict(soak.counts)}")
                soak.next_session()
        soak.end()
    except BaseException:
        say(f"seed {seed}, fault {sum(soak.counts.values())}: {fault}; {dict(soak.counts)}")
        say(f"the server's log:\n{soak.client.log.read_text()[-4_000:]}")
        raise
    finally:
        soak.close()
    return soak.counts


def main(argv: Sequence[str]) -> int:
    """`bin/soak faults`."""
    parser = argparse.ArgumentParser(
        prog="bin/soak faults", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("count", type=int, nargs="?", default=200, help="faults to inject (default: 200)")
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() % 1_000_000, help="of the random choices (default: the clock)"
    )
    parser.add_argument("--pressure", action="store_true", help="run tests/pressure with its full counts instead")
    found = parser.parse_args(argv)
    if found.pressure:
        full = [sys.executable, "-m", "pytest", "tests/pressure", "-v", "--durations=0", "--timeout=7200"]
        os.execve(sys.executable, full, {**os.environ, "RLM_PRESSURE": "full"})
    print(f"{found.count} faults, seed {found.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        counts = run(found.count, found.seed, Path(directory), lambda line: print(line, flush=True))
        disk = "tried" if "disk_full" in counts else "not tried: too few faults, or nobody who may mount a small one"
    print(json.dumps({"seed": found.seed, "s": round(time.monotonic() - began), "full disk": disk, "faults": counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
