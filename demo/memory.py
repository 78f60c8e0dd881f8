"""What a server's processes hold in memory while they work, according to the operating system.

Is: a look at /proc five times a second, from a thread. Is not: a limit, nor anything that the server says of itself.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

LOOK_S: Final = 0.2
OWN: Final = re.compile(r"^(?:RssAnon|RssShmem|VmPTE):\s+(\d+) kB$", re.MULTILINE)
"""Memory that cannot be reclaimed: pages of files do not count."""
ROLLUP: Final = re.compile(r"^(Pss|Pss_File):\s+(\d+) kB$", re.MULTILINE)


@dataclass(slots=True)
class Seen:
    """One process."""

    pid: int
    is_server: bool
    began_s: float
    """Processor time when it was first seen."""
    now_s: float
    own_kb: int = 0
    """The most private memory that it has had."""

    @property
    def worked_s(self) -> float:
        return self.now_s - self.began_s


class MemoryWatch(AbstractContextManager["MemoryWatch"]):
    """Watches the processes below this one, as a context manager."""

    def __init__(self) -> None:
        self._seen: dict[int, Seen] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def server(self) -> Seen:
        """The server: the child of this process."""
        return max((one for one in self._seen.values() if one.is_server), key=lambda one: one.worked_s)

    @property
    def kernel(self) -> Seen:
        """The kernel that did the work: the process below the server with the most processor time."""
        return max((one for one in self._seen.values() if not one.is_server), key=lambda one: one.worked_s)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        me = os.getpid()
        parents: dict[int, int] = {}
        spent: dict[int, float] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
                except OSError:
                    continue  # it ended while we looked
                parents[int(entry.name)] = int(fields[1])
                spent[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for pid, spent_s in spent.items():
            if pid != me and _is_below(pid, me, parents):
                one = self._seen.setdefault(pid, Seen(pid, parents[pid] == me, spent_s, spent_s))
                one.now_s = spent_s
                one.own_kb = max(one.own_kb, own_kb(pid))


def own_kb(pid: int) -> int:
    """A process's private memory in kB; 0 if it has ended."""
    try:
        return sum(map(int, OWN.findall(Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace"))))
    except OSError:
        return 0


def pss_kb(pid: int) -> dict[str, int] | None:
    """A process's share of memory (`Pss`), and how much of it are pages of files (`Pss_File`), in kB.

    None where this user may not look: a kernel is closed to its own user; root may.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return {name: int(count) for name, count in ROLLUP.findall(text)}


def _is_below(pid: int, top: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == top:
            return True
    return False
