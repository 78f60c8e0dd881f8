"""A cluster of Ray on this machine for tests, in a process of its own, which keeps nodes and adds some when it is told.

Is: a program, as `cluster up` is, and the end of it that tests have: which nodes there are, their processes, and their
ends. Is not: a test. `python -m tests.cluster.keeper STATE_DIR NODES MEMORY_MB` says one line of JSON when it is there;
each line that it reads is the name of a node to add, and its input's end is its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil

from rlm_kernel_mcp.cluster.asked import STORE, Facts
from rlm_kernel_mcp.cluster.place import leave, made_token
from rlm_kernel_mcp.commands.clustering.looks import looked_at, told
from rlm_kernel_mcp.commands.clustering.up import here, put
from tests.parts import ROOT

NODES: Final = 3
NODE_MB: Final = 1_024
STORE_MB: Final = 80
WAIT_S: Final = 90.0
"""For a cluster to be there, on a busy machine."""


@cache
def _token() -> str:
    return secrets.token_hex(32)


def give_token(state_dir: Path) -> None:
    """Have a cluster ask for the token of all clusters of this process: Ray reads one once, and keeps it."""
    Path(made_token(state_dir)).write_text(_token(), encoding="ascii")


class Keeper:
    """The end that tests have."""

    def __init__(self, state_dir: Path, nodes: int = NODES, node_mb: int = NODE_MB, **env: str) -> None:
        self.state_dir = state_dir
        of_nodes = {"RLM_STATE_DIR": str(state_dir), "RLM_MEMORY_LIMIT_MB": "128", **env}
        self.env = {name: value for name, value in of_nodes.items() if not name.startswith("RLM_CLUSTER_")}
        """A client's."""
        argv = [sys.executable, "-m", "tests.cluster.keeper", str(state_dir), str(nodes), str(node_mb)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RLM_"))}
        give_token(state_dir)
        self._process = subprocess.Popen(
            argv, cwd=ROOT, env=clean | of_nodes, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._added, self._waiting = nodes, 0
        self.address = self._said()["address"]
        self.stopped: list[int] = []

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the cluster did not begin"
        said: dict[str, Any] = json.loads(line)
        return said

    def add(self) -> str:
        """One more node; its name."""
        name = self.add_soon()
        self.added()
        return name

    def add_soon(self) -> str:
        """The same, without the wait for it."""
        assert self._process.stdin is not None
        self._added += 1
        self._waiting += 1
        name = f"node-{self._added}"
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        return name

    def added(self) -> None:
        """All that were to be added are there."""
        while self._waiting:
            self._said()
            self._waiting -= 1

    def processes(self, host_pid: int) -> list[psutil.Process]:
        """All that a node is made of: its host, the raylet that started it, and what that has beside."""
        host = psutil.Process(host_pid)
        raylet = host.parent()
        assert raylet is not None
        assert raylet.name() == "raylet"
        beside = [one for one in raylet.children() if one.pid != host_pid]
        return [raylet, host, *beside]

    def kill(self, host_pid: int) -> None:
        """As when the machine loses its power."""
        for one in self.processes(host_pid):
            with suppress(psutil.NoSuchProcess):  # what a raylet has beside it ends with it by itself
                one.kill()

    def stop(self, host_pid: int) -> None:
        """As when nobody gets to the machine."""
        for one in self.processes(host_pid):
            with suppress(psutil.NoSuchProcess):
                one.suspend()
                self.stopped.append(one.pid)

    def go_on(self) -> None:
        """The end of that."""
        for pid in self.stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
        self.stopped.clear()

    def close(self) -> None:
        """End all of it."""
        self.go_on()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(WAIT_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()


@contextmanager
def kept(state_dir: Path, nodes: int = NODES, node_mb: int = NODE_MB, **env: str) -> Iterator[Keeper]:
    """A cluster, for a while."""
    keeper = Keeper(state_dir, nodes, node_mb, **env)
    try:
        yield keeper
    finally:
        keeper.close()


def main(state_dir: Path, nodes: int, node_mb: int, environ: Mapping[str, str]) -> None:
    """Keep it until the input ends."""
    with here(state_dir, nodes, node_mb, STORE_MB) as local:
        kept_in = environ.get(STORE, str(state_dir / "cluster" / "store"))
        cluster, looks, claims = put(local.place, Facts.of_environ(environ, kept_in, is_one_machine=True))
        leave(state_dir, local.place)
        while True:
            print(json.dumps(told(cluster, looks, claims)), flush=True)
            if not (name := sys.stdin.readline().strip()):
                return
            local.add(name, node_mb)
            looks, claims = asyncio.run(looked_at(cluster))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), os.environ)
