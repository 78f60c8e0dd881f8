"""Keeps what a person types while a cell waits, which the terminal would discard on Ctrl-C.

Is: one flag of the terminal. Is not: the console. Above: `console.py`. Source: termios(3), NOFLSH.
"""

from __future__ import annotations

import contextlib
import sys
import termios
from typing import Final

LOCAL_FLAGS: Final = 3
"""Index of the flags in what `tcgetattr` returns."""


class TypedAhead:
    """Sets the flag only while a cell waits: what is typed as an answer to a question is meant for that alone."""

    def __init__(self) -> None:
        self._terminal = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._kept = False

    def keep(self) -> None:
        """From now on Ctrl-C keeps what was typed."""
        if not self._kept and self._set(True):
            self._kept = True

    def let_go(self) -> None:
        """As it was before."""
        if self._kept:
            self._set(False)
            self._kept = False

    def _set(self, keep: bool) -> bool:
        """Whether the flag was changed."""
        if self._terminal is None:
            return False
        with contextlib.suppress(termios.error):  # the terminal is gone
            flags = termios.tcgetattr(self._terminal)
            if bool(flags[LOCAL_FLAGS] & termios.NOFLSH) is keep:
                return False
            flags[LOCAL_FLAGS] ^= termios.NOFLSH
            termios.tcsetattr(self._terminal, termios.TCSANOW, flags)
        return True
