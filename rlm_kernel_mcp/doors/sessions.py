"""A place for several sessions of a program without an event loop.

Is: their thread, the door of all of them, its end. Is not: a session (`api.py`), nor where the calls go (`door.py`).
Above: `api.py`. Below: `async_session.py`, `loop_thread.py`, `through_host.py`.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine, Mapping
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from rlm_kernel_mcp.doors.async_session import AsyncSession
from rlm_kernel_mcp.doors.door import Door
from rlm_kernel_mcp.doors.loop_thread import Call, LoopThread
from rlm_kernel_mcp.doors.options import Output, SessionOptions, Tell
from rlm_kernel_mcp.doors.through_host import Host, door_of

T = TypeVar("T")


class Place:
    """What sessions share: `Sessions` of `api.py`, but for the opening of one."""

    def __init__(
        self,
        *,
        host: Host = "auto",
        env: Mapping[str, str] | None = None,
        door: Door | None = None,
        cluster: str | None = None,
    ) -> None:
        """Begin: connect to the host, or make a fork server and a spare kernel here (some 0.5 s).

        Args:
            host: `auto`: in the host of this user, or in this process where none can be had (or `RLM_HOST` is `off`);
                `required`: in the host; `off`: in this process, whose children the kernels are.
            env: settings by their names (`RLM_...`), before those of the environment.
            door: where the calls go instead.
            cluster: `auto`, or the address of a cluster, on whose nodes they are to be, whatever `host` says; `off`:
                in none. None: as `RLM_CLUSTER` says.

        Raises:
            KernelStartFailed, HostUnavailable, InvalidInput: a setting is wrong.
        """
        self._door = door or door_of(host, env, cluster)
        self._thread = LoopThread()
        self._finalizer = weakref.finalize(self, _forgotten, self._thread, self._door)
        try:
            self._thread.do(self._door.open())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End every kernel; waits within a bound. Safe to call twice, and from any thread."""
        self._finalizer.detach()
        self._thread.end(self._door.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether it takes calls."""
        return not self._thread.is_over

    def session(self, options: SessionOptions) -> AsyncSession:
        """A session of this place, not yet open."""
        return AsyncSession(door=self._door, **options)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a call."""
        return self._thread.do(work)

    def do_telling(self, work: Callable[[Tell], Coroutine[Any, Any, T]], tell: Tell) -> T:
        """The same; what the call tells meanwhile is told on, in the caller's own thread."""
        pieces: SimpleQueue[Output | None] = SimpleQueue()

        def result(call: Call[T]) -> T:
            while (piece := pieces.get()) is not None:
                tell(piece)
            return call.result()

        return self._thread.wait(self._thread.begin(work(pieces.put), lambda: pieces.put(None)), result)


def _forgotten(thread: LoopThread, door: Door) -> None:
    """A place that nobody has any more was not closed. At the process's end its kernels notice that by themselves."""
    warnings.warn("sessions were not closed", ResourceWarning, source=door, stacklevel=2)
    if threading.main_thread().is_alive():
        thread.end_soon(door.close)
