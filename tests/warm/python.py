"""A Python that has imported what our programs import, and forks one for each that a test starts.

A start of the server takes a second of processor time, of a command a third of one, and all of that is imports; the
fast part starts some three hundred programs. Is: a test's end of it; the other is `program.py`. What is forked is a
process of its own, with its own arguments, environment, directory, streams, signals and end. Is not: a start as a user
makes it. That is what a test gets outside `bin/test`, in its slow part too, and inside it wherever the start is the
subject (`warm=False` of `tests/mcp/line_client.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Literal

from tests.warm.program import REQUEST_BYTES

WAIT_S: Final = 60.0
Kind = Literal["program", "terminal", "daemon"]
IMPORTED: Final = (
    "IPython.lib.lexers",
    "anyio._backends._asyncio",
    "rlm_kernel_mcp.cli",
    "rlm_kernel_mcp.commands.attached.console",
    "rlm_kernel_mcp.commands.doctoring.doctor",
    "rlm_kernel_mcp.commands.sessions",
    "rlm_kernel_mcp.commands.trace",
    "rlm_kernel_mcp.server.app",
    "rlm_kernel_mcp.session.registry",
)
IMPORTS: Final = f"import {', '.join(IMPORTED)}"
PROGRAM: Final = Path(__file__).with_name("program.py")


class Forked:
    """What tests use of `subprocess.Popen`, of a process that is not our child: it is the warm Python's."""

    def __init__(self, arguments: Sequence[str], status: socket.socket) -> None:
        """`status`: brings the number of the process, and then its exit code."""
        self.args = list(arguments)
        self._status = status
        self.returncode: int | None = None
        self.pid = self._told(WAIT_S) or -1
        assert self.pid > 0, "the warm Python has forked nothing"
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None

    def _told(self, timeout_s: float | None) -> int | None:
        if not select.select([self._status], [], [], timeout_s)[0]:
            return None
        told = self._status.recv(64)
        assert told, "the warm Python has ended"
        return int(told)

    def poll(self) -> int | None:
        """As `Popen.poll`."""
        if self.returncode is None:
            self._take_end(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """As `Popen.wait`."""
        if self.returncode is None:
            self._take_end(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def communicate(self) -> tuple[None, bytes]:
        """As `Popen.communicate`, where standard error alone is a pipe."""
        assert self.stderr is not None
        with self.stderr:
            said = self.stderr.read()
        self.wait()
        return None, said

    def _take_end(self, timeout_s: float | None) -> None:
        self.returncode = self._told(timeout_s)
        if self.returncode is not None:
            self._status.close()

    def send_signal(self, number: int) -> None:
        """As `Popen.send_signal`."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class WarmPython:
    """One such process, which ends with this one."""

    def __init__(self, imports: str = IMPORTS, env: Mapping[str, str] | None = None) -> None:
        """`imports`: the code that it runs before it forks. `env`: its own; that of what it forks is asked for."""
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", PROGRAM, imports], stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=env
            )

    def start(
        self,
        arguments: Sequence[str],
        files: tuple[int, int, int],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        kind: Kind = "program",
    ) -> Forked:
        """Start `python -I ARGUMENTS` (`-m NAME ...`, `-c CODE ...` or `FILE ...`), as its fork.

        `files`: its standard streams, as descriptors. `kind`: of a program on a terminal the first becomes the
        controlling terminal; a daemon has a session of its own, and becomes no other program.
        """
        asked = {
            "arguments": list(arguments),
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "kind": kind,
        }
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._requests, [json.dumps(asked).encode()], [*files, theirs.fileno()])
        return Forked(arguments, status)

    @property
    def pid(self) -> int:
        """The parent of all that it forks."""
        return self._process.pid

    def close(self) -> None:
        """End it; what it has forked lives on."""
        self._requests.close()
        self._process.wait(WAIT_S)


class _Used:
    """Whether programs are forked in this process, and by whom."""

    yes = False
    python: WarmPython | None = None


def use() -> None:
    """From now on programs are forked: for a worker of many tests (`tests/conftest.py`)."""
    _Used.yes = True


def stop_using() -> None:
    """End the process that forks them, if there is one."""
    if _Used.python is not None:
        _Used.python.close()
    _Used.yes, _Used.python = False, None


def warm_python() -> WarmPython | None:
    """This worker's; None where programs are started as ever."""
    if _Used.yes and _Used.python is None:
        _Used.python = WarmPython()
    return _Used.python


def run_python(arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `python -I ARGUMENTS` to its end, without input; returns what it wrote."""
    warm = warm_python()
    if warm is None:
        return subprocess.run(
            [sys.executable, "-I", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    with Path(os.devnull).open("rb") as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        status = warm.start(arguments, (nothing.fileno(), out.fileno(), errors.fileno()), env=env).wait(WAIT_S)
        for file in (out, errors):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read().decode(), errors.read().decode())
