"""The real jupyter console in a pseudo-terminal, typed into as a person would."""

from __future__ import annotations

import re
import select
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import pexpect
import psutil

WAIT_S: Final = 60
POLL_S: Final = 0.002
"""Pause between two looks at whether it waits."""
PROMPT: Final = r"In \[.*?\d+.*?\]: "


class Console:
    """A console that is attached to a session. Every wait is bounded, and fails with what the console showed."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], terminal_type: str = "dumb") -> None:
        # A dumb terminal is not asked where its cursor is, and is shown plain text; its prompt is drawn once.
        terminal = {"TERM": terminal_type, "NO_COLOR": "1", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.terminal: Any = pexpect.spawn(
            sys.executable,
            ["-I", *arguments],
            env={**env, **terminal},
            encoding="utf-8",
            timeout=WAIT_S,
            dimensions=(50, 200),
        )
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
        self.terminal.sendintr()

    def ended(self) -> str:
        """Wait for its end; returns the last it showed."""
        shown = self.until(pexpect.EOF)
        self.terminal.wait()
        return shown

    def close(self) -> None:
        """For fixtures: end it whatever state it is in."""
        pty = self.terminal.ptyproc
        pty.delayafterclose = pty.delayafterterminate = 0.02  # it is asked again, at last by SIGKILL
        self.terminal.close(force=True)
