"""`rlm-kernel-mcp trace --follow` at a terminal of its own.

Is: the process, what it has shown by now, and its end. Is not: anything of pytest's.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.mcp.line_client import WAIT_S

CHUNK: Final = 1 << 16


class Follower:
    """One who follows a session."""

    def __init__(self, env: Mapping[str, str], session_id: str, log: Path) -> None:
        """`log`: where its stderr goes."""
        self.log = log
        self._terminal, theirs = pty.openpty()
        argv = [sys.executable, "-I", "-m", "rlm_kernel_mcp", "trace", session_id, "--follow"]
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                argv, stdin=theirs, stdout=theirs, stderr=errors, env={**os.environ, **env}, start_new_session=True
            )
        os.close(theirs)
        self._shown = b""

    @property
    def shown(self) -> str:
        """What was read from its terminal."""
        return self._shown.decode("utf-8", "replace").replace("\r\n", "\n")

    def until(self, text: str) -> None:
        """Read until it has shown something. As long as it shows more, however slowly, it does not hang."""
        while text not in self.shown:
            assert self._read(WAIT_S), f"{text!r} was not shown; shown was:\n{self.shown}\n{self.said()}"

    def until_said(self, text: str) -> None:
        """Return when it has said something on stderr; what it shows meanwhile is read."""
        deadline = time.monotonic() + WAIT_S
        while text not in self.said():
            assert time.monotonic() < deadline, f"{text!r} was not said; said was:\n{self.said()}"
            self._read(0.01)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait(self) -> int:
        """Its exit status, once it has ended by itself; everything that it has shown was read then."""
        while self._read(WAIT_S):
            continue
        return self.process.wait(WAIT_S)

    def _read(self, within_s: float) -> bool:
        """Take what it has shown; false at its end, or after so many seconds."""
        if not select.select([self._terminal], [], [], within_s)[0]:
            return False
        data = b""
        with suppress(OSError):  # EIO: nobody has the other end any more
            data = os.read(self._terminal, CHUNK)
        self._shown += data
        return bool(data)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT_S)
        os.close(self._terminal)
