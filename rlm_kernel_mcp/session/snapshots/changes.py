"""The changes of a session's snapshots on disk: one at a time, in a thread.

Is: their order, and when an index is written that differs from the one on disk in its step alone. Is not: what changes
(`file.py`). Above: `taking.py`, `restoring.py`. Below: `file.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from rlm_kernel_mcp.session.snapshots.file import SnapshotFile

log = logging.getLogger(__name__)
WRITE_S: Final = 1.0
"""How long an index that differs from the one on disk in its step alone may wait to be written."""
threads: Final = ThreadPoolExecutor(16, thread_name_prefix="snapshot")
"""Where files of snapshots are read and written."""


class Changes:
    """The one writer of one session's file."""

    def __init__(self, file: SnapshotFile, on_refused: Callable[[OSError], None]) -> None:
        """`on_refused`: called where the disk does not take the index."""
        self._file = file
        self._on_refused = on_refused
        self._last: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._advanced_step = 0
        """The newest step after which the values were what the file has; the index does not have it yet. 0: none."""

    @property
    def step(self) -> int:
        """The last step after which a snapshot was taken."""
        return max(self._file.index.step, self._advanced_step)

    def in_turn(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None]:
        """Begin something that may change the file when all that began before has ended."""
        self._last = asyncio.create_task(_behind(self._last, work), name=name)
        self._last.add_done_callback(_tell_mistake)
        return self._last

    def advance_step(self, step: int) -> None:
        """The values are what they were, after one more step; that is written once a second."""
        self._advanced_step = step
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_S, self._write_now)

    async def apply(self, change: Callable[[], None]) -> None:
        """Change the file, from within what `in_turn` has begun. Raises: as `change`."""
        step, self._advanced_step = self._advanced_step, 0

        def work() -> None:
            if step:
                self._file.advance(step)
            change()

        await asyncio.get_running_loop().run_in_executor(threads, work)

    def forget_step(self) -> None:
        """Nobody knows any more what the file holds."""
        self._advanced_step = 0

    async def settle(self) -> None:
        """Wait until everything that has begun is at an end: each wait in it has its bound."""
        if self._last is not None:
            await asyncio.wait({self._last})
        if self._timer is not None:
            await asyncio.wait({self._write_now()})

    async def at_rest(self, within_s: float) -> bool:
        """Wait until nothing changes the file; whether it came to that in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._last is not None and not self._last.done():
                    await asyncio.wait({self._last})
        return self._last is None or self._last.done()

    def _write_now(self) -> asyncio.Task[None]:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        return self.in_turn(self._write, "snapshots' index")

    async def _write(self) -> None:
        try:
            await self.apply(self._file.write_index)
        except OSError as error:
            self._on_refused(error)


async def _behind(before: asyncio.Task[None] | None, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    if before is not None:
        await asyncio.wait({before})
    await work()


def _tell_mistake(task: asyncio.Task[None]) -> None:
    """Log what such a task raises, since nobody waits for it: it would be a bug of ours."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s", task.get_name(), exc_info=error)
