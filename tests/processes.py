"""Which processes live below another, and whether they are gone: by identity, never by a name's pattern.

Linux only: a process's end is an event on its pidfd, also where nobody reaps the zombie.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


def command_lines_below(pid: int) -> dict[psutil.Process, str]:
    """Every living process below `pid`, with its command line."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        try:
            found[process] = " ".join(process.cmdline())
        except psutil.Error:
            continue  # it ended while we looked
    return found


def run_directories(command_lines: Iterable[str]) -> set[Path]:
    """The run directories that these processes, a fork server or its kernels among them, were started with."""
    found = (re.search(r"--policy (\S+)/policy\.json --parent", line) for line in command_lines)
    return {Path(match[1]) for match in found if match is not None}


def left_over(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those of the processes that still live after `timeout_s` seconds; returns as soon as the last one ends."""
    waiting = {}
    for process in processes:
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        if process.is_running():
            waiting[descriptor] = process
        else:  # the number belongs to another process by now
            os.close(descriptor)
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    while waiting and (left_ms := (deadline - time.monotonic()) * 1000) > 0:
        for descriptor, _ in poll.poll(left_ms):
            poll.unregister(descriptor)
            del waiting[descriptor]
            os.close(descriptor)
    for descriptor in waiting:
        os.close(descriptor)
    return list(waiting.values())


def thread_statuses(pid: int) -> list[str]:
    """/proc's status of each thread of a process; without those that end while it is looked at."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append((thread / "status").read_text(encoding="ascii"))
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of one process, without those below it."""
    rss: int = psutil.Process(pid).memory_info().rss
    return rss


def largest_bytes(pid: int) -> int:
    """The largest resident size that a process ever had, or had since `bounded_growth` began."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def bounded_growth(pid: int, limit_mb: int) -> Iterator[None]:
    """At no moment within may a process be larger than at the beginning by more than this."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = largest_bytes(pid) >> 20
    yield
    growth_mb = (largest_bytes(pid) >> 20) - before
    assert growth_mb < limit_mb, f"process {pid} grew by {growth_mb} MB"
