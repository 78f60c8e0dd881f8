"""What SIGINT does to a kernel: it ends the code that runs for a client, and nothing else.

Is: one handler for the kernel's whole life, that raises only while it is armed; so no interrupt can hit the lines
between a step's end and its reply (ipykernel loses the reply then). Is not: a wall: code can install a handler of its
own, which lasts until its step ends. Above: `kernel.py`. Below: the standard library, IPython's `run_code`.
Source: ipykernel#881 and #1239 for a top-level `await`.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell

from rlm_kernel_mcp.in_kernel.ipython.signals import set_handler

_RUN_CODE: Final = InteractiveShell.run_code.__code__


class Interrupts:
    """The handler and its state. All methods belong to the main thread."""

    def __init__(self, user_ns: dict[str, Any]) -> None:
        self._user_ns = user_ns
        self.armed = False
        """Whether an interrupt raises KeyboardInterrupt where the code stands."""
        self.hit = False
        """Whether the future below was cancelled by an interrupt."""
        self._future: asyncio.Future[Any] | None = None
        self._is_expecting = self._is_owed = False

    def install(self) -> None:
        """Take the signal, or take it back from a step. Only the main thread can; a subshell's does not."""
        if threading.current_thread() is threading.main_thread():
            set_handler(signal.SIGINT, self._on_sigint)

    def expect(self, *, step: bool) -> None:
        """A request is taken up. An interrupt that comes before its code begins is kept until then: it was for it."""
        self._is_expecting, self._is_owed = step, False

    def arm(self, future: asyncio.Future[Any] | None = None) -> None:
        """From now on an interrupt raises; while only `future` is awaited, it is cancelled instead.

        Raises:
            KeyboardInterrupt: there was one since the step was taken up.
        """
        self.install()
        self._future, self.hit, self.armed = future, False, True
        is_owed, self._is_expecting, self._is_owed = self._is_owed, False, False
        if is_owed:
            raise KeyboardInterrupt

    def disarm(self) -> None:
        """From now on an interrupt does nothing."""
        self.armed, self._future = False, None
        self.install()

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        del signum
        if not self.armed:
            self._is_owed = self._is_owed or self._is_expecting
            return
        if self._future is None or self._runs_cell(frame):
            raise KeyboardInterrupt
        self.hit = True
        # The loop sleeps in select(2) and would notice a plain cancel only when something else wakes it.
        self._future.get_loop().call_soon_threadsafe(self._future.cancel)

    def _runs_cell(self, frame: FrameType | None) -> bool:
        """Whether IPython has called the cell's code and catches what is raised in it; elsewhere it ends the loop."""
        above = None
        while frame is not None:
            if frame.f_code is _RUN_CODE:
                return above is not None and above.f_globals is self._user_ns
            above, frame = frame, frame.f_back
        return False
