"""The real jupyter console in a pseudo-terminal, typed into as a person would."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import termios
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import pexpect
import psutil
from pexpect.fdpexpect import fdspawn

from tests.warm.python import WarmPython, warm_python

WAIT_S: Final = 60
ROWS_AND_COLUMNS: Final = (50, 200)
INTERRUPT: Final = "\x03"
"""What Ctrl-C sends."""
POLL_S: Final = 0.002
"""Pause between two looks at whether it waits."""
PROMPT: Final = r"In \[.*?\d+.*?\]: "


class Console:
    """A console that is attached to a session. Every wait is bounded, and fails with what the console showed."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], terminal_type: str = "dumb") -> None:
        # A dumb terminal is not asked where its cursor is, and is shown plain text; its prompt is drawn once.
        env = {**env, "TERM": terminal_type, "NO_COLOR": "1", "PROMPT_TOOLKIT_NO_CPR": "1"}
        python = warm_python()
        self.terminal: Any = _spawned(arguments, env) if python is None else _Forked(python, arguments, env)
        self.greeting = self.until(PROMPT)
        """What was shown before the first prompt."""

    def until(self, pattern: Any) -> str:
        """Wait for something to be shown; returns what came before it, without control sequences."""
        self.terminal.expect(pattern)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", str(self.terminal.before)).replace("\r", "")

    def type(self, code: str) -> None:
        """Type a line and Enter."""
        self.terminal.send(code + "\r")

    def run(self, code: str) -> str:
        """Run a cell of one line; returns all that is shown until the next prompt, from the echo of the code on."""
        self.type(code)
        return self.until(PROMPT)

    def interrupt(self) -> None:
        """Press Ctrl-C once it waits for something.

        Python hears a signal that comes between the line on which it asks and its wait for the answer with the answer
        alone: nobody is as fast as that, but for a test on a busy machine.
        """
        process = psutil.Process(self.terminal.pid)
        deadline = time.monotonic() + WAIT_S
        while process.status() != psutil.STATUS_SLEEPING:
            assert time.monotonic() < deadline, "the console is always at work"
            select.select([], [], [], POLL_S)
        self.terminal.send(INTERRUPT)

    def ended(self) -> str:
        """Wait for its end; returns the last it showed."""
        shown = self.until(pexpect.EOF)
        self.terminal.wait()
        return shown

    def close(self) -> None:
        """For fixtures: end it whatever state it is in. pexpect alone waits a tenth of a second for what it killed."""
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.terminal.pid)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], WAIT_S)
            finally:
                os.close(descriptor)
        self.terminal.close(force=True)


def _spawned(arguments: list[str], env: Mapping[str, str]) -> Any:
    """A console that is started by itself."""
    spawned = pexpect.spawn(
        sys.executable, ["-I", *arguments], env=env, encoding="utf-8", timeout=WAIT_S, dimensions=ROWS_AND_COLUMNS
    )
    # It is asked again, at last by SIGKILL.
    spawned.ptyproc.delayafterclose = spawned.ptyproc.delayafterterminate = 0.02
    return spawned


class _Forked(fdspawn):  # type: ignore[misc]
    """A console that a Python which has its imports already becomes; what is used here of `pexpect.spawn`."""

    def __init__(self, python: WarmPython, arguments: list[str], env: Mapping[str, str]) -> None:
        ours, theirs = pty.openpty()
        try:
            termios.tcsetwinsize(theirs, ROWS_AND_COLUMNS)
            self._process = python.start(arguments, (theirs, theirs, theirs), env=env, kind="terminal")
        finally:
            os.close(theirs)
        super().__init__(ours, encoding="utf-8", timeout=WAIT_S)
        self.pid = self._process.pid

    def send(self, text: str) -> int:
        """As `pexpect.spawn` does: a moment later than at once, as whatever a person types."""
        select.select([], [], [], self.delaybeforesend)
        return int(super().send(text))

    def wait(self) -> int:
        """Its exit status."""
        return self._process.wait(WAIT_S)

    def close(self, force: bool = False) -> None:
        """Take its terminal away, which ends it; `force`: and kill it."""
        super().close()
        if force:
            self._process.kill()
            self.wait()
