"""One host for all clients, which come through fronts of their own, in a place that belongs to the benchmark.

The other side is what each client has without a host: a server of its own (`ours.py`).
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.sides.ours import OurServer
from tests.front.hosts import FRONT, Hosts
from tests.parts import ROOT

STARTED = (str(ROOT / "bin" / "rlm-mcp"),)
"""What a client's configuration names; RLM_HOST says whether that is a front or a server."""
OWN: Mapping[str, str] = {"RLM_HOST": "off"}
"""The settings of a client that has a server of its own."""


class Hosted:
    """The place of a host, and the clients that come there. They share a state directory."""

    def __init__(self, sockets: Path, directory: Path) -> None:
        self._hosts = Hosts(sockets, directory)
        self._clients: list[OurServer] = []
        self._work = directory / "work"
        self._work.mkdir()

    @property
    def state(self) -> Path:
        """Where the records and the values of all sessions are kept."""
        return self._hosts.directory / "state"

    @property
    def env(self) -> Mapping[str, str]:
        """What a client, or whoever looks on, has in its environment to come here."""
        return self._hosts.env

    def front(self) -> OurServer:
        """A client, as its configuration starts it; it has said nothing yet."""
        client = OurServer(self._work, STARTED, self._hosts.env)
        self._clients.append(client)
        return client

    def client(self) -> OurServer:
        """A client that is ready for calls."""
        client = self.front()
        client.initialize()
        self.check(client)
        client.initialized()
        return client

    def check(self, client: OurServer) -> None:
        """Raise where a client that is served has become its own server: that would be another measurement."""
        line = psutil.Process(client.pid).cmdline()
        if FRONT[-1] not in line:
            raise RuntimeError(f"a client is served without a host: {line}; the host's log: {self._hosts.log()}")

    def leave(self, client: OurServer) -> None:
        """End a client."""
        self._clients.remove(client)
        client.close()

    @property
    def pid(self) -> int:
        """The host's process."""
        pid = self._hosts.pid()
        if pid is None:
            raise RuntimeError(f"no host listens; its log: {self._hosts.log()}")
        return pid

    def kill(self) -> None:
        """End the host at once, whatever it is doing."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """End the host in its own way, and wait for its end. No client may be left."""
        pid = self.pid
        os.kill(pid, signal.SIGTERM)
        self._hosts.wait_for_end(pid)

    def close(self) -> None:
        """End every client and every host."""
        for client in self._clients:
            client.close()
        self._hosts.close()


@contextmanager
def one_host() -> Iterator[Hosted]:
    """A place for a host, which the first client starts."""
    with (
        # Short, whatever TMPDIR is: the name of a socket has 107 bytes at most.
        tempfile.TemporaryDirectory(prefix="rlm-b-", dir="/tmp") as sockets,
        tempfile.TemporaryDirectory(prefix="rlm-bench-") as directory,
    ):
        hosted = Hosted(Path(sockets), Path(directory))
        try:
            yield hosted
        finally:
            hosted.close()
