"""The hashes of a session's contexts that were ready without one: made meanwhile, and written down.

Is: which are under way, in threads of their own, and their end with the session. Is not: the hash
(`context/loader/hashing.py`). Above: `contexts.py`. Below: that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from rlm_kernel_mcp.context.loader.hashing import Unhashed
from rlm_kernel_mcp.context.loader.loaders import Loaders
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.session.kernels.loading import NobodyWaits
from rlm_kernel_mcp.shielded import made_in_thread

log = logging.getLogger(__name__)
AT_A_TIME: Final = 2
"""Of all sessions: nobody waits for them, and each reads all of a context."""
_threads = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="hash of a context")


class Hashes:
    """Those of one session. Belongs to the event loop."""

    def __init__(self, loaders: Loaders | None) -> None:
        self._loaders = loaders
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.on_done: Callable[[], None] = lambda: None
        """Told of each that is made."""

    @property
    def under_way(self) -> bool:
        """Whether there are any to come."""
        return bool(self._tasks)

    def begin(self, name: str, unhashed: Unhashed | None, take: Callable[[str], None]) -> None:
        """Have the hash of a context made, of which there is one already where `unhashed` is None. `take`: gets it."""
        if unhashed is None:
            return
        if self._loaders is None or name in self._tasks:
            unhashed.close()
            return
        made = self._make(unhashed, self._loaders, take)
        task = self._tasks[name] = asyncio.create_task(made, name=f"hash of {name}")
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def end(self, within_s: float) -> None:
        """Wait for those to come, at most so long, and for no others."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=within_s)
        self.cancel()

    def cancel(self) -> None:
        """Nobody needs them any more."""
        for task in self._tasks.values():
            task.cancel()

    async def _make(self, unhashed: Unhashed, loaders: Loaders, take: Callable[[str], None]) -> None:
        ended = threading.Event()

        def check_cancelled() -> None:
            if ended.is_set():
                raise NobodyWaits

        def make() -> str | None:
            with unhashed:
                check_cancelled()
                return unhashed.digest(loaders, check_cancelled)

        try:
            digest = await made_in_thread(make, lambda _: None, _threads)
        except RlmError as error:
            log.warning("a context has no hash: %s", error)
            return
        finally:
            ended.set()
        if digest is not None:
            take(digest)
            self.on_done()
