"""`rlm-kernel-mcp watch` as a process of its own, at a port that it has again when it is started again."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.parts import ROOT

WAIT_S: Final = 60
PORTS: Final = range(20_000, 30_000)
"""None of them is given to whoever asks for any port, so that nobody has it while the page's server is gone."""
TRIES: Final = 20


@dataclass
class Watch:
    """The server of a page, and the addresses that it prints."""

    state_dir: Path
    port: int
    process: subprocess.Popen[str]
    first: str
    was_given: bool = False

    @property
    def address(self) -> str:
        """One that lets a browser in, which has to be opened before there is another."""
        if not self.was_given:
            self.was_given = True
            return self.first
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.process.communicate(timeout=WAIT_S)

    def start_again(self) -> None:
        found = _started(self.state_dir, self.port)
        assert found is not None, "the port is another's"
        self.process, self.first = found
        self.was_given = False


@contextmanager
def watched(state_dir: Path) -> Iterator[Watch]:
    """The page of a state directory's sessions."""
    for _ in range(TRIES):
        port = secrets.choice(PORTS)
        found = _started(state_dir, port)
        if found is not None:
            break
    else:
        raise AssertionError("no port could be had")
    watch = Watch(state_dir, port, *found)
    try:
        yield watch
    finally:
        watch.kill()


def _started(state_dir: Path, port: int) -> tuple[subprocess.Popen[str], str] | None:
    """The process and its address; None where the port is another's."""
    env = {"PATH": os.environ["PATH"], "HOME": str(state_dir), "RLM_STATE_DIR": str(state_dir), "RLM_HOST": "off"}
    argv = [sys.executable, "-m", "rlm_kernel_mcp", "watch", "--port", str(port)]
    process = subprocess.Popen(
        argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if address:
        return process, address
    process.communicate(timeout=WAIT_S)
    return None
