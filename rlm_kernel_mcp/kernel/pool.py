"""Spare kernels: started ahead, walls raised, handed over once.

Is: at most `spare_kernels` ready kernels of one starter, replaced in the background. Is not: reuse: a kernel that had
a session is never given to another. Above: `session/`. Below: `starter.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rlm_kernel_mcp.errors import KernelDied, KernelStartFailed, RlmError
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.placement.base import Loader
from rlm_kernel_mcp.kernel.starter import KernelStarter
from rlm_kernel_mcp.shielded import shielded

log = logging.getLogger(__name__)
T = TypeVar("T")
TRIES: Final = 3
ENDING: Final = "The server is ending."


class KernelPool:
    """Hands out kernels, a spare one where there is one."""

    def __init__(self, starter: KernelStarter) -> None:
        self._starter = starter
        self._limits = starter.policy.pool
        self._spares: deque[tuple[float, Kernel]] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._closed = False

    def warm(self) -> None:
        """Start the spare kernels in the background."""
        if self._closed or (self._filling is not None and not self._filling.done()):
            return
        if len(self._spares) < self._limits.spare_kernels:
            self._filling = asyncio.create_task(self._fill(), name="spare kernels")

    async def take(self, prepare: Callable[[Kernel], Awaitable[T]]) -> tuple[Kernel, T]:
        """A ready kernel that nobody has used, and what `prepare` made of it.

        A kernel that goes away before it is prepared is replaced by another one, in at most `TRIES` tries: spares die
        with their fork server, and this may be called before their deaths are seen.

        Raises:
            SandboxUnavailable, KernelStartFailed, KernelDied; and what `prepare` raises.
        """
        for attempt in range(1, TRIES + 1):
            try:
                kernel = await self._next()
                try:
                    return kernel, await prepare(kernel)
                except BaseException:
                    await shielded(kernel.kill("it could not be prepared"), "the end of an unprepared kernel")
                    raise
            except (KernelDied, KernelStartFailed) as error:
                if attempt == TRIES or self._closed:
                    raise
                log.warning("taking another kernel: %s", error.message)
        raise AssertionError("the last try returns or raises")

    async def loader(self, file_mb: int, cpu_s: int, value_mb: int = 0) -> Loader | None:
        """A process that reads a context, in no need of a kernel. Raises: as `HostPlacement.loader`."""
        if self._closed:
            raise KernelStartFailed(ENDING)
        return await self._starter.loader(file_mb, cpu_s, value_mb)

    async def _next(self) -> Kernel:
        if self._closed:
            raise KernelStartFailed(ENDING)
        now = asyncio.get_running_loop().time()
        try:
            while self._spares:
                started, kernel = self._spares.popleft()
                if kernel.client.broken is None and now - started <= self._limits.max_age_s:
                    return kernel
                await kernel.kill("it was a spare kernel, and had become too old")
            return await self._starter.start()
        finally:
            self.warm()  # whatever was handed out, was too old or failed: the next session is to find a spare

    async def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closed and len(self._spares) < self._limits.spare_kernels:
            try:
                kernel = await self._starter.start()
            except RlmError as error:
                log.warning("no spare kernel could be started: %s", error.message)
                return
            self._spares.append((loop.time(), kernel))
        while self._closed and self._spares:  # closed while a kernel was starting
            await self._spares.popleft()[1].kill()

    def stop(self) -> None:
        """Start no more spares; a start that is under way is given up."""
        if self._filling is not None and not self._closed:  # once: again would cut off the wait for its clean-up
            self._filling.cancel()
        self._closed = True

    async def close(self) -> None:
        """End the spares and start no more."""
        self.stop()
        if self._filling is not None:
            # `wait` and not `await`: the task was cancelled, and its CancelledError is not ours.
            await asyncio.wait({self._filling})
        while self._spares:
            await self._spares.popleft()[1].kill()
