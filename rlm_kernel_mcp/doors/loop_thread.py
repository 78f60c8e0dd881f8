"""An event loop in a thread of its own, for programs without one.

Is: calls from any thread, their cancellation, and an end with bounds. Is not: what is called. Above: `api.py`.
Below: asyncio.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from rlm_kernel_mcp.errors import InvalidInput

log = logging.getLogger(__name__)
T = TypeVar("T")

REOPEN: Final = "Open another one, with session_id to go on where it was."

CANCEL_S: Final = 40.0
"""So long a cancelled call is waited for: the ladder of an interrupt takes less, also where the kernel is replaced."""
END_S: Final = 30.0
"""So long the thread is waited for; after that it is left behind, and the log says so."""


class Call(Generic[T]):
    """One call under way in the loop."""

    def __init__(self, on_end: Callable[[], object]) -> None:
        self._on_end = on_end
        self._ended = threading.Event()
        self._task: asyncio.Task[T] | None = None

    def start(self, work: Coroutine[Any, Any, T]) -> None:
        """Begin it; in the loop."""
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._end)

    def _end(self, _task: object) -> None:
        self._ended.set()
        self._on_end()

    def result(self) -> T:
        """Wait for its result. Raises: what it raises."""
        self._ended.wait()
        assert self._task is not None
        if self._task.cancelled():
            raise InvalidInput("The session was closed during this call.", REOPEN)
        return self._task.result()

    def cancel(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel it and wait for its end; it has ended already, or does within a bound."""
        if not self._ended.is_set():
            loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
            self._ended.wait(CANCEL_S)


class LoopThread:
    """The thread, from its making to `end`. It keeps nobody's process from ending."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self.is_over = False
        """Whether it takes no more calls."""
        self._thread = threading.Thread(target=self._run, name="rlm session", daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._over.wait()

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is a copy in a forked process, which has no such thread."""
        return os.getpid() != self._pid

    def begin(self, work: Coroutine[Any, Any, T], on_end: Callable[[], object] = lambda: None) -> Call[T]:
        """Begin a call. `on_end`: called in the loop's thread.

        Raises:
            InvalidInput: the thread has ended.
        """
        call: Call[T] = Call(on_end)
        with self._lock:
            if self.is_over or self.is_elsewhere:
                work.close()
                raise InvalidInput("The session is closed.", REOPEN)
            self._loop.call_soon_threadsafe(call.start, work)
        return call

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a call. Where this wait is interrupted (Ctrl-C), the call is cancelled, and ends first."""
        return self.wait(self.begin(work), Call[T].result)

    def wait(self, call: Call[T], how: Callable[[Call[T]], T]) -> T:
        """Wait for a call, `how` that is done; whatever ends the wait before the call's end cancels it."""
        try:
            return how(call)
        except BaseException:
            call.cancel(self._loop)
            raise

    def end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `last` and end the thread; waits for both within a bound. Safe to call twice."""
        self.end_soon(last)
        self._thread.join(END_S)
        if self._thread.is_alive():
            log.error("the thread of the sessions did not end within %.0f s", END_S)

    def end_soon(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """The same without a wait, from any thread."""
        with self._lock:
            if self.is_over or self.is_elsewhere:
                return
            self.is_over = True
            self._loop.call_soon_threadsafe(self._begin_end, last)

    def _begin_end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._ending = asyncio.get_running_loop().create_task(last(), name="the end of the sessions")
        self._ending.add_done_callback(self._end)

    def _end(self, ending: asyncio.Task[None]) -> None:
        if not ending.cancelled() and (error := ending.exception()) is not None:
            log.error("the end of the sessions failed", exc_info=error)
        self._over.set()
