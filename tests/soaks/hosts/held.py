"""What a host has, seen from outside: to have as much when its peers have come and gone as it had before.

Is: threads, descriptors, processes, directories, locks and memory of one process at one moment, and the wait for the
moment at which it rests. Is not: who comes and goes (`clients.py`, `watchers.py`).
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil

from tests.mcp.line_client import LineClient
from tests.processes import run_directories

MORE: Final = 1.05
"""So much of what it had at first a host may have of memory afterwards. Of all else it is to have as much."""
THREADS: Final = 5
REST_S: Final = 60.0
LOOK_S: Final = 0.1


@dataclass(frozen=True)
class Held:
    """What a host has, seen from outside."""

    threads: int
    descriptors: int
    processes: int
    directories: int
    locks: int
    memory_mb: float
    """Its own pages; of files that are shared, its part would change as others come and go."""


def held(pid: int, state: Path) -> Held:
    """A look at one moment."""
    host = psutil.Process(pid)
    below, lines = host.children(recursive=True), []
    for process in below:
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    names = []
    for entry in [*Path(f"/proc/{pid}/fd").iterdir()]:
        try:
            names.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]
    rows = dict(line.split(":") for line in rollup)
    return Held(
        threads=host.num_threads(),
        descriptors=sum("/sessions.db" not in name for name in names),  # the store's come and go by its own rules
        processes=len(below),
        directories=sum(path.is_dir() for directory in run_directories(lines) for path in directory.iterdir()),
        locks=len([*(state / "locks").glob("*")]),
        memory_mb=round(int(rows["Anonymous"].split()[0]) / 1024, 1),
    )


def is_no_more(now: Held, then: Held, threads: int = THREADS) -> bool:
    """Whether it has no more than it had; of the pools' threads there are as many as ever were needed at once.

    `threads`: how many more that may be.
    """
    is_small = now.memory_mb <= then.memory_mb * MORE and now.threads <= then.threads + threads
    return is_small and replace(now, memory_mb=0, threads=0) == replace(then, memory_mb=0, threads=0)


def at_rest(pid: int, client: LineClient, wanted: Held | None = None, threads: int = THREADS) -> Held:
    """What a host has once that is what is wanted, or does not change any more. `client`: one that is there."""
    state = Path(client.env["RLM_STATE_DIR"])
    deadline, found, since = time.monotonic() + REST_S, held(pid, state), time.monotonic()
    while time.monotonic() < deadline:
        if wanted is not None and is_no_more(found, wanted, threads):
            break
        if wanted is None and time.monotonic() - since > 2:
            break
        signal.sigtimedwait([], LOOK_S)
        client.request("ping")
        client.seen.clear()
        now = held(pid, state)
        if replace(now, memory_mb=0) != replace(found, memory_mb=0):
            since = time.monotonic()
        found = now
    return found
