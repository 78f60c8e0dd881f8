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
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell

from rlm_kernel_mcp.in_kernel.ipython.signals import set_handler

# The code object, not the function: a frame has nothing else that user code could not imitate.
_RUN_CODE: Final = InteractiveShell.run_code.__code__
END_AGAIN_S: Final = 1.0
"""After which code that was to end by now is interrupted once more."""
AGAIN_S: Final = 0.001
"""After which an interrupt comes again that Python has let go of."""


class Interrupts:
    """The handler and its state. All methods belong to the main thread."""

    def __init__(self, user_ns: dict[str, Any]) -> None:
        self._user_ns = user_ns
        self.later: Callable[[float, Callable[[], None]], None] = lambda seconds, call: None
        """Has another thread call something after so many seconds."""
        self.armed = False
        """Whether an interrupt raises KeyboardInterrupt where the code stands."""
        self.hit = False
        """Whether the future below was cancelled by an interrupt."""
        self._future: asyncio.Future[Any] | None = None
        self._is_expecting = self._is_owed = self._is_repeating = False
        self._runs = 0
        """How many pieces of code have ended. An interrupt that is to come again belongs to the one that it hit."""

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
        """From now on an interrupt does nothing, nor does one that was to come again."""
        self.armed, self._future = False, None
        self._runs += 1
        self.install()

    def swallowed(self, error: BaseException | None) -> bool:
        """Told of each exception that nobody could catch, of a destructor or a weak reference's callback.

        True if it was an interrupt: it ends nothing there, however often it is sent to code that makes and drops many
        objects. It comes again, until it finds a place where it is raised for good, or its code ends.
        """
        if not self.armed or threading.current_thread() is not threading.main_thread() or not _is_ours(error):
            return False
        # Whatever is signalled from here on would be swallowed too: the lines below belong to that destructor.
        self._is_repeating = True
        try:
            self.later(AGAIN_S, partial(self._send_again, self._runs))
        finally:
            self._is_repeating = False
        return True

    def end_after(self, seconds: float) -> None:
        """Interrupt the code that runs next if it still runs by then, and each second from there on."""
        self.later(seconds, partial(self._end, self._runs))

    def _end(self, run: int) -> None:
        """In another thread."""
        if run == self._runs:
            self._send_again(run)
            self.later(END_AGAIN_S, partial(self._end, run))

    def _send_again(self, run: int) -> None:
        """In another thread: a signal, which also ends a wait that the main thread has begun by now."""
        main = threading.main_thread().ident
        # Between the question and the signal the interpreter lock is not let go of: the code cannot end there.
        if main is not None and self.armed and run == self._runs:
            signal.pthread_kill(main, signal.SIGINT)

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        del signum
        if not self.armed:
            self._is_owed = self._is_owed or self._is_expecting
            return
        if self._is_repeating:
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


def _is_ours(error: BaseException | None) -> bool:
    """Whether the handler has raised it. Not by its identity: another may have its address once it is gone."""
    place = error.__traceback__ if type(error) is KeyboardInterrupt else None
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and place.tb_frame.f_code is _ON_SIGINT


_ON_SIGINT: Final = Interrupts._on_sigint.__code__
