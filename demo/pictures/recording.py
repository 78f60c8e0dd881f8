"""A program at a pseudo-terminal, typed into as a person would, and what its screen shows.

Is: the terminal, the waits, and when each line was complete. Is not: what is typed (`makers.py`). Below: `screen.py`.
"""

from __future__ import annotations

import codecs
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from demo.pictures.screen import Screen

WAIT_S: Final = 120.0
"""For anything; a picture is not made of a program that hangs."""
CALM_S: Final = 0.7
"""A screen that has not changed for so long is shown."""
BLOCK_BYTES: Final = 1 << 16


class NotShown(Exception):
    """The program did not show what was waited for; the message has what it showed."""


class Terminal:
    """One program."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], directory: Path, columns: int = 100, rows: int = 30
    ) -> None:
        self.screen = Screen(columns, rows)
        self.came_s: list[float] = []
        """When each line was complete, in seconds from the start."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun_s = time.monotonic()
        self._ours, theirs = pty.openpty()
        try:
            termios.tcsetwinsize(theirs, (rows, columns))
            size = {"COLUMNS": str(columns), "LINES": str(rows), "TERM": "xterm-256color"}
            self._process = subprocess.Popen(
                argv,
                env={**env, **size},
                cwd=directory,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        """Type it."""
        os.write(self._ours, text.encode())

    def until(self, shows: str | Callable[[str], bool]) -> None:
        """Wait until the screen shows a text, or is as it is to be. Raises: NotShown."""
        is_there = (lambda seen: shows in seen) if isinstance(shows, str) else shows
        until_s = time.monotonic() + WAIT_S
        while not is_there(self.screen.text()):
            if time.monotonic() > until_s or not self._read(1.0):
                raise NotShown(self.screen.text())

    def until_calm(self) -> None:
        """Wait until nothing changes any more."""
        until_s = time.monotonic() + WAIT_S
        while time.monotonic() < until_s and select.select([self._ours], [], [], CALM_S)[0]:
            if not self._read(0.0):
                return

    def until_ended(self) -> int:
        """Wait for its end; its exit status."""
        while self._read(1.0):
            if time.monotonic() - self._begun_s > 5 * WAIT_S:
                raise NotShown(self.screen.text())
        return self._process.wait(WAIT_S)

    def _read(self, within_s: float) -> bool:
        """Read what there is within so many seconds; whether there may be more."""
        if not select.select([self._ours], [], [], within_s)[0]:
            return self._process.poll() is None
        try:
            block = os.read(self._ours, BLOCK_BYTES)
        except OSError:  # what a terminal says of a program that has ended
            block = b""
        self.screen.feed(self._decoder.decode(block))
        done = len(self.screen.gone) + self.screen.row
        self.came_s += [time.monotonic() - self._begun_s] * (done - len(self.came_s))
        if self.screen.answers:
            answers, self.screen.answers = self.screen.answers, ""
            os.write(self._ours, answers.encode())
        return bool(block)
