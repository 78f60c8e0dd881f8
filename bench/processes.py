"""What the operating system reports about a tree of processes. Linux only, by psutil and /proc."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import psutil

MB = 1 << 20
CPUCLOCK_SCHED = 2
"""Of a process as a whole, in the number of its clock: clock_getcpuclockid(3)."""
CALM_S = 0.1
CALM_LIMIT_S = 20.0


def tree(pid: int) -> list[psutil.Process]:
    """A process and everything below it."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def pss_mb(pid: int) -> float:
    """The proportional share of memory (PSS) of a process tree: a shared page counts once in all.

    Raises:
        psutil.AccessDenied: this user may not inspect the kernels' memory (they are not dumpable).
    """
    return sum(process.memory_full_info().pss for process in tree(pid)) / MB


def cpu_s(pid: int) -> dict[int, float]:
    """Processor time used so far, by process of a tree."""
    used = {}
    for process in tree(pid):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue  # it ended while we looked
        used[process.pid] = times.user + times.system
    return used


def spent_s(pid: int) -> float:
    """Processor time used so far by a tree, including its children that have ended and were waited for."""
    used = 0.0
    for process in tree(pid):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue  # it ended while we looked
        used += times.user + times.system + times.children_user + times.children_system
    return used


def worked_ms(pid: int) -> float:
    """Processor time used so far by a tree, by the clock that each process of it has; what has ended does not count.

    To the microsecond: the system's account, which `spent_s` reads, goes by ticks of 10 ms.
    """
    used_ns = 0
    for process in tree(pid):
        try:
            used_ns += time.clock_gettime_ns((~process.pid << 3) | CPUCLOCK_SCHED)
        except OSError:
            continue  # it ended while we looked
    return used_ns / 1e6


async def settle(pid: int, limit_s: float = CALM_LIMIT_S) -> None:
    """Return when a tree is idle: the spare kernel is ready, closed sessions are gone, hashes are done."""
    before = cpu_s(pid)
    for _ in range(int(limit_s / CALM_S)):
        await asyncio.sleep(CALM_S)
        now = cpu_s(pid)
        if now == before:
            return
        before = now
    raise TimeoutError(f"process {pid} and those below it still work after {limit_s:.0f} s")


async def busiest(pid: int) -> int:
    """The process below `pid` that works hardest just now."""
    before = cpu_s(pid)
    await asyncio.sleep(2 * CALM_S)
    now = cpu_s(pid)
    return max((found for found in now if found != pid), key=lambda found: now[found] - before.get(found, 0.0))


def status_mb(pid: int, field: str) -> float:
    """A field of /proc/PID/status that is given in kB, such as `VmHWM` or `RssAnon`."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None, field
    return int(found[1]) / 1024
