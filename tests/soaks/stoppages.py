"""What stands still for a while holds up only who waits for it: the client, its reading, the log, the disk, the store.

Is: a server whose client is another process than this one (two pipes and `cat`), so that it can be stopped by SIGSTOP,
and a neighbour: a second server on the same store. Each stoppage, drawn at random, is in the middle of work; what was
asked for is answered whole when it is over, and the neighbour was answered meanwhile. Is not: output that is lost
(`output.py`), nor ends of servers and kernels (`tests/faults/`).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from bench.progress import told
from rlm_kernel_mcp.store.store import EventRow, Store
from tests.faults.disk import SmallDisk
from tests.mcp.line_client import SERVE, WAIT_S, LineClient
from tests.soaks.calls import serving

RELAYED: Final = ("/bin/sh", "-c", 'cat | "$@" | cat', "sh", *SERVE)
READS: Final = 20
READ_CHARS: Final = 200_000
"""Together far more than the pipes take."""
PIPE_BYTES: Final = 4_096
LOCKED_S: Final = 1.0
NEIGHBOUR_S: Final = 8.0
"""A neighbour's step is answered within this, whatever stands still; a store that is locked is waited for at first.
Only `bin/soak` holds it: a test may share its machine with whatever else runs there."""


class Scene:
    """A session whose client can be stopped, and a neighbour's."""

    def __init__(self, client: LineClient, neighbour: LineClient, disk: SmallDisk | None) -> None:
        self.client, self.neighbour, self.disk = client, neighbour, disk
        self.store = Store.open(Path(client.env["RLM_STATE_DIR"]))
        for one in (client, neighbour):
            one.initialize()
        ample: dict[str, Any] = {"budget_limit": 100_000_000, "max_steps": 10_000, "max_runtime_ms": 3_600_000}
        self.session_id, self.others_id = client.open_session(**ample), neighbour.open_session(**ample)
        client.run(self.session_id, f"import time\nlarge = 'y' * {READ_CHARS}")
        self.steps = 1
        self.slowest_neighbour_s = 0.0

    @property
    def relays(self) -> list[psutil.Process]:
        """The client, as the server has it."""
        return [child for child in psutil.Process(self.client.process.pid).children() if child.name() == "cat"]

    def row(self) -> EventRow | None:
        """The newest step as it is written."""
        rows = self.store.events(self.session_id, self.steps, self.steps)
        return rows[0] if rows else None

    def wait_for_row(self, status: str) -> None:
        """Return when the newest step is so in the store."""
        deadline = time.monotonic() + WAIT_S
        while (row := self.row()) is None or row.result_status != status:
            assert time.monotonic() < deadline, f"step {self.steps} is not {status}"
            signal.sigtimedwait([], 0.02)

    def ask(self, step: str) -> list[int]:
        """Ask for more than the pipes take, and for a step; nothing of it is read."""
        arguments = {"session_id": self.session_id, "var_name": "large", "limit": READ_CHARS}
        reads = [self.client.begin("rlm_get_var", arguments) for _ in range(READS)]
        self.steps += 1
        return [*reads, self.client.begin("rlm_run_repl", {"session_id": self.session_id, "code": step})]

    def answered(self, requests: Sequence[int]) -> None:
        """All of it is there, and whole."""
        *reads, step = requests
        for request in reads:
            value = self.client.result(request)["structuredContent"]["data"]["value"]
            assert value == "y" * len(value)
            assert len(value) > 1_000
        assert self.client.result(step)["structuredContent"]["data"]["status"] == "ok"
        self.client.seen.clear()

    def ask_neighbour(self) -> None:
        """It is answered, whatever stands still."""
        began = time.monotonic()
        assert self.neighbour.run(self.others_id, "6 * 7")["result"] == "42"
        self.slowest_neighbour_s = max(self.slowest_neighbour_s, time.monotonic() - began)
        self.neighbour.seen.clear()

    # --- what stands still -----------------------------------------------------------------------

    def client_stopped(self) -> None:
        """SIGSTOP in the middle of a step: it ends and is written all the same; SIGCONT: every answer is there."""
        requests = self.ask("time.sleep(0.5)")
        self.wait_for_row("unknown")
        relays = self.relays
        for relay in relays:
            relay.suspend()
        try:
            self.ask_neighbour()
            self.wait_for_row("ok")
        finally:
            for relay in relays:
                relay.resume()
        self.answered(requests)

    def answers_unread(self) -> None:
        """The client lives and reads nothing: steps end and are written all the same."""
        requests = self.ask("time.sleep(0.1)")
        self.ask_neighbour()
        self.wait_for_row("ok")
        self.answered(requests)

    def log_unread(self) -> None:
        """Standard error is a small pipe that nobody reads (for the whole run): more refusals than it takes."""
        for _ in range(100):
            self.client.error("rlm_get_var", session_id="s_nobody22", var_name="x")
        requests = self.ask("pass")
        self.ask_neighbour()
        self.answered(requests)

    def disk_full(self) -> None:
        """No byte is left: steps and reads go on, here and there."""
        assert self.disk is not None
        self.disk.fill()
        try:
            requests = self.ask("print('x' * 50_000)")
            self.ask_neighbour()
            self.answered(requests)
        finally:
            self.disk.free()
        self.until_mended()

    def store_locked(self) -> None:
        """Somebody who was stopped in a transaction holds the store; a disk that takes long looks the same."""
        holder = sqlite3.connect(Path(self.client.env["RLM_STATE_DIR"]) / "sessions.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            requests = self.ask("print('x' * 50_000)")
            self.ask_neighbour()
            signal.sigtimedwait([], LOCKED_S)
            self.answered(requests)
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        self.until_mended()

    def until_mended(self) -> None:
        """Both servers write to the disk again: a step that neither knew of before is there."""
        deadline = time.monotonic() + WAIT_S
        while (row := self.row()) is None or row.result_status != "ok":
            assert time.monotonic() < deadline, f"step {self.steps} is not in the store"
            self.client.run(self.session_id, "pass")
            self.steps += 1
            self.ask_neighbour()
            signal.sigtimedwait([], 0.5)

    def kinds(self) -> list[Callable[[], None]]:
        """Those that can be had here: a disk of one's own to fill takes root."""
        found = [self.client_stopped, self.answers_unread, self.log_unread, self.store_locked]
        return found if self.disk is None else [*found, self.disk_full]


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """Both servers; what was stopped goes on at the end, so that it can end."""
    state = directory / "state"
    disk = SmallDisk.mount(state)
    for name in ("server", "neighbour"):
        (directory / name).mkdir()
    with ExitStack() as ends:
        if disk is not None:
            ends.callback(disk.unmount)
        reading, writing = os.pipe()
        ends.callback(os.close, reading)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        settings = {"RLM_STATE_DIR": str(state)}
        client = LineClient(directory / "server", settings, argv=RELAYED, stderr=writing)
        os.close(writing)
        ends.enter_context(serving(client))
        neighbour = LineClient(directory / "neighbour", settings)
        ends.enter_context(serving(neighbour))
        found = Scene(client, neighbour, disk)
        ends.callback(found.store.close)
        yield found
        assert (client.end(), neighbour.end()) == (0, 0)


def main(argv: Sequence[str]) -> int:
    """`bin/soak stoppages`."""
    parser = argparse.ArgumentParser(
        prog="bin/soak stoppages", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--count", type=int, default=40, help="stoppages, of each kind about as many (default: 40)")
    parser.add_argument("--seed", type=int, default=1)
    found = parser.parse_args(argv)
    began, rng = time.monotonic(), random.Random(found.seed)
    counts: Counter[str] = Counter()
    slowest: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="soak-") as directory, scene(Path(directory)) as there:
        for _ in told(range(found.count), found.count, "stoppages"):
            one = rng.choice(there.kinds())
            there.slowest_neighbour_s = 0.0
            name = one.__name__
            one()
            print(f"{name}: the neighbour's step took {there.slowest_neighbour_s:.2f} s", flush=True)
            assert there.slowest_neighbour_s < NEIGHBOUR_S
            counts[name] += 1
            slowest[name] = max(slowest.get(name, 0.0), round(there.slowest_neighbour_s, 2))
    table: dict[str, Any] = {"stoppages": dict(sorted(counts.items())), "slowest step of the neighbour, s": slowest}
    print(json.dumps({"soak": "stoppages", "seed": found.seed, "s": round(time.monotonic() - began), **table}))
    return 0
