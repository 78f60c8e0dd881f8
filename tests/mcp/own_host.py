"""A host of one client's own, for the tests that go through the front (`RLM_THROUGH_FRONT=1`).

Is: its place, who it is, and its end. Is not: many clients of one host (`tests/front/`). Nobody else meets it: no other
test, and no client of the user's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FRONT: Final = (sys.executable, "-I", "-S", str(ROOT / "rlm_kernel_mcp" / "front" / "run.py"))
_SERVE: Final = (sys.executable, "-I", "-m", "rlm_kernel_mcp", "serve")
THROUGH_FRONT: Final = os.environ.get("RLM_THROUGH_FRONT") == "1"
"""Whether what tests start as `serve` is to be a front with a host of its own."""
WAIT_S: Final = 60.0
LOOK_S: Final = 0.005


def through_front(argv: Sequence[str]) -> tuple[str, ...] | None:
    """The command that starts the front in place of this one; None where the run or the command is not for it."""
    at = len(argv) - len(_SERVE)
    if not THROUGH_FRONT or at < 0 or tuple(argv[at:]) != _SERVE:
        return None
    return (*argv[:at], *FRONT)


class OwnHost:
    """Its place is made with this object, and is gone when it has ended."""

    def __init__(self, user: int) -> None:
        self._sockets = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # their paths are bounded
        os.chown(self._sockets, user, -1)
        self._known: tuple[int, int] | None = None
        self.env: Mapping[str, str] = {
            "RLM_HOST": "auto",
            "RLM_HOST_DIR": str(self._sockets),
            "RLM_HOST_WAIT_S": f"{WAIT_S:.0f}",
        }

    @property
    def pid(self) -> int | None:
        """The host's process; None where there is none: the front has become the server, or nobody has come yet."""
        if self._known is None:
            self._known = self._listening()
        return None if self._known is None else self._known[0]

    def _listening(self) -> tuple[int, int] | None:
        for path in self._sockets.glob("*.sock"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as look, contextlib.suppress(OSError):
                look.connect(str(path))
                pid, _, _ = struct.unpack("3i", look.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                return pid, os.pidfd_open(pid)
        return None

    def send_signal(self, number: signal.Signals) -> None:
        """To the host, if it lives."""
        if self.pid is not None and self._known is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._known[1], number)

    def end(self, *numbers: signal.Signals) -> None:
        """End it by the first of these signals that does it, and remove its place; safe to call twice."""
        if not self._sockets.is_dir():
            return
        self._wait_for_start()
        for number in numbers or (signal.SIGTERM, signal.SIGKILL):
            self.send_signal(number)
            self.send_signal(signal.SIGCONT)
            if self._has_ended():
                break
        log = "".join(path.read_text(encoding="utf-8", errors="replace") for path in self._sockets.glob("*.log"))
        shutil.rmtree(self._sockets)
        assert self._known is None or select.select([self._known[1]], [], [], 0)[0], f"a host lives; its log:\n{log}"
        if self._known is not None:
            os.close(self._known[1])

    def _has_ended(self) -> bool:
        return self._known is None or bool(select.select([self._known[1]], [], [], WAIT_S)[0])

    def _wait_for_start(self) -> None:
        """A front that is gone may have started one that does not listen yet: it has the lock."""
        deadline = time.monotonic() + WAIT_S
        while self.pid is None and any(map(_is_locked, self._sockets.glob("*.lock"))):
            assert time.monotonic() < deadline, "a host has begun and does not listen"
            select.select([], [], [], LOOK_S)


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
