"""What hosts leave behind when the last one has ended: there is to be nothing.

Is: a look at processes, sockets, run directories, shared memory, locks and snapshots of the hosts of one place. Is not:
anything of other servers on the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Any, Final

import psutil

from tests.front.hosts import Hosts
from tests.mcp.line_client import WAIT_S
from tests.processes import command_lines_below, left_over, run_directories

PR_SET_CHILD_SUBREAPER: Final = 36


class Left:
    """Belongs to a process of its own: whoever loses its parent becomes this process's child."""

    def __init__(self, hosts: Hosts) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._hosts = hosts
        self._directories: set[Path] = set()
        self._pids: set[int] = set()
        self._shared = self._shared_files()

    def look(self) -> None:
        """Remember what hosts have now, to look whether it is gone at the end."""
        below = {}
        for pid in self._hosts.everyone():
            try:
                below.update(command_lines_below(pid))
            except psutil.NoSuchProcess:
                continue
            self._pids.add(pid)
        self._pids |= {process.pid for process in below}
        self._reap()
        self._directories |= run_directories(below.values())

    def _reap(self) -> None:
        """What killed hosts had has ended as a child of this process; fronts are waited for by their clients."""
        fronts = {client.process.pid for client in self._hosts.clients}
        for process in psutil.Process().children():
            if process.pid not in fronts and process.status() == psutil.STATUS_ZOMBIE:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)

    def at_the_end(self) -> dict[str, Any]:
        """What is there still; nothing, once every host has had time to end."""
        processes = left_over(psutil.Process().children(recursive=True), WAIT_S)
        state = self._hosts.directory / "state"
        found: dict[str, Any] = {
            "processes": [str(process) for process in processes],
            "sockets": [path.name for path in self._hosts.sockets.iterdir() if path.suffix != ".log"],
            "directories": [str(path) for path in self._directories if path.exists()],
            "shared memory": [*self._segments(), *sorted(self._shared_files() - self._shared)],
            "locks": [path.name for path in (state / "locks").glob("*")],
            "snapshots": [path.name for path in (state / "snapshots").glob("*")],
        }
        return {what: found for what, found in found.items() if found}

    @property
    def directories(self) -> int:
        """How many run directories were seen."""
        return len(self._directories)

    def _segments(self) -> list[str]:
        """Segments of System V that one of these processes has made."""
        rows = Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()
        names = rows[0].split() if rows else []
        return [row for row in rows[1:] if int(row.split()[names.index("cpid")]) in self._pids]

    @staticmethod
    def _shared_files() -> set[str]:
        """POSIX's, but what other programs of this machine make meanwhile is of their own names."""
        return {str(path) for path in Path("/dev/shm").glob("*rlm*")}
