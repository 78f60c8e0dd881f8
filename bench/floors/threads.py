"""What threads have used, as the operating system counts it: time on a processor, and how often they went to sleep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.processes import tree

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Used:
    """What one thread, or several together, used."""

    cpu_ms: float = 0.0
    waited_ms: float = 0.0
    """Ready to run, with no processor free."""
    sleeps: float = 0.0
    """How often it waited for somebody else: each time another thread or process has to wake it."""

    def plus(self, other: Used, sign: int = 1) -> Used:
        """The sum, or with -1 the difference."""
        return Used(
            self.cpu_ms + sign * other.cpu_ms,
            self.waited_ms + sign * other.waited_ms,
            self.sleeps + sign * other.sleeps,
        )

    def each(self, count: int) -> Used:
        """The same for one of so many."""
        return Used(self.cpu_ms / count, self.waited_ms / count, self.sleeps / count)


Threads = dict[tuple[int, int, str], Used]
"""By process, thread and the thread's name; `main` is the one that a process began with."""


def used_by(pids: Iterable[int]) -> Threads:
    """What each thread of some processes has used by now. Linux alone."""
    found: Threads = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                cpu_ns, waited_ns, _ = map(int, (task / "schedstat").read_text(encoding="ascii").split())
                status = (task / "status").read_text(encoding="ascii")
                name = "main" if task.name == str(pid) else (task / "comm").read_text(encoding="ascii").strip()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            sleeps = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
            found[pid, int(task.name), name] = Used(cpu_ns / NS_PER_MS, waited_ns / NS_PER_MS, sleeps)
    return found


def between(before: Threads, after: Threads) -> Threads:
    """What each thread used from one look to the other."""
    return {thread: used.plus(before.get(thread, Used()), -1) for thread, used in after.items()}


def by_role(used: Threads, roles: dict[int, str]) -> dict[str, Used]:
    """The same by what a process is and the name of its thread: `kernel, main thread`."""
    found: dict[str, Used] = {}
    for (pid, _, name), amount in used.items():
        if pid in roles:
            role = f"{roles[pid]}, {'its main thread' if name == 'main' else _called(name)}"
            found[role] = found.get(role, Used()).plus(amount)
    return found


def _called(name: str) -> str:
    # pyzmq's context has one thread that sends and receives, and one that looks after closed sockets.
    return "libzmq's thread" if name.startswith("ZMQbg/IO") else "its other threads"


def kernels_below(pid: int, steps: dict[int, float], least_s: float = 0.01) -> list[int]:
    """The processes below a server that have worked since a look (`cpu_s`): its kernels, if only steps were run."""
    found = []
    for process in tree(pid)[1:]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        if times.user + times.system - steps.get(process.pid, 0.0) > least_s:
            found.append(process.pid)
    return found
