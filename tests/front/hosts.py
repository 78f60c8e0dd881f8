"""Fronts and the hosts that they start, in a place of a test's own.

Is: clients through real fronts, who their host is, and the end of every host with the test. Is not: anything of
pytest's.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from rlm_kernel_mcp.front.front import Place
from tests.mcp.line_client import WAIT_S, LineClient
from tests.parts import ROOT

FRONT: Final = (sys.executable, "-I", "-S", str(ROOT / "rlm_kernel_mcp" / "front" / "run.py"))
HERE: Final = "serving in this process, without a host"
"""What a front says that becomes the server itself."""


class Hosts:
    """The hosts of one directory of sockets and one of records."""

    def __init__(self, sockets: Path, directory: Path) -> None:
        """`sockets`: a directory whose path is short; `directory`: for records, working directories and logs."""
        self.sockets = sockets
        self.sockets.chmod(0o700)
        self.directory = directory
        self.env = {
            "RLM_HOST": "auto",
            "RLM_HOST_DIR": str(sockets),
            "RLM_HOST_WAIT_S": f"{WAIT_S:.0f}",
            "RLM_STATE_DIR": str(directory / "state"),
        }
        self.front: tuple[str, ...] = FRONT
        self.clients: list[LineClient] = []
        self.known: dict[int, int] = {}
        """Hosts that were seen, each by a descriptor of its process."""

    @property
    def place(self) -> Place:
        """Where the hosts are."""
        return Place({**os.environ, **self.env})

    def client(
        self, name: str = "client", before: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> LineClient:
        """A client through a front of its own, with a working directory of that name. `before` starts the front."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        client = LineClient(directory, {**self.env, **(env or {})}, (*before, *self.front), warm=False)
        self.clients.append(client)
        return client

    def pid(self) -> int | None:
        """The process that listens; None where nobody does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as look:
            try:
                look.connect(self.place.socket)
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            pid, _, _ = struct.unpack("3i", look.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if pid not in self.known:
            self.known[pid] = os.pidfd_open(pid)
        return int(pid)

    def count(self) -> int:
        """How many hosts there are at this place."""
        return sum(self.socket_of(pid) == self.place.socket for pid in self.everyone())

    def everyone(self) -> list[int]:
        """Every host with a socket in this directory, however it is confined."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if line[1:4] == self.place.host[1:4] and line[4].startswith(f"{self.sockets}/"):
                found.append(process.pid)
                if process.pid not in self.known:
                    self.known[process.pid] = os.pidfd_open(process.pid)
        return found

    def socket_of(self, pid: int) -> str:
        """Where a host listens."""
        return psutil.Process(pid).cmdline()[4]

    def wait_for_end(self, pid: int) -> None:
        """Return when that host has ended."""
        ended, _, _ = select.select([self.known[pid]], [], [], WAIT_S)
        assert ended, f"the host still lives; its log:\n{self.log()}"

    def wait_until_unfound(self, client: LineClient) -> None:
        """Return when the host has left its place; `client` is not to say anything meanwhile."""
        deadline = time.monotonic() + WAIT_S
        while Path(self.place.socket).exists():
            assert time.monotonic() < deadline, f"the host is still found; its log:\n{self.log()}"
            client.pause()

    def wait_until_kept(self, session_id: str, client: LineClient) -> None:
        """Return when the values of a session's first step are on disk, which comes after the step's answer."""
        kept, deadline = self.directory / "state" / "snapshots" / f"{session_id}.json", time.monotonic() + WAIT_S
        while not kept.is_file():
            assert time.monotonic() < deadline, f"the values were not kept; the host's log:\n{self.log()}"
            client.pause()

    def log(self) -> str:
        return "".join(path.read_text(encoding="utf-8") for path in self.sockets.glob("*.log"))

    def close(self) -> None:
        """End every client and every host, whatever state it is in."""
        for client in self.clients:
            client.kill()
        self.everyone()
        for descriptor in self.known.values():
            for number in (signal.SIGTERM, signal.SIGKILL):
                if not select.select([descriptor], [], [], 0)[0]:
                    signal.pidfd_send_signal(descriptor, number)
                    signal.pidfd_send_signal(descriptor, signal.SIGCONT)
                if select.select([descriptor], [], [], WAIT_S)[0]:
                    break
            os.close(descriptor)
