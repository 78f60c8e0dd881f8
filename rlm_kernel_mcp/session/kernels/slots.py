"""How many sessions may have a kernel at a time, and who gives way.

Is: RLM_MAX_SESSIONS. A session holds its slot from before its kernel starts until that kernel is stopped; a kernel
that is replaced keeps its slot. Is not: the number of sessions, which is not limited: those without a kernel come
back on use. Above: `session/registry.py`, `session_kernel.py`. Below: nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from rlm_kernel_mcp.errors import SessionBusy

log = logging.getLogger(__name__)
PATIENCE_S: Final = 0.5
"""How long a session may take to give way before another one is asked as well."""


class SlotHolder(Protocol):
    """A session, as far as its slot is concerned."""

    session_id: str
    used_at_s: float
    """When it was used last, by the monotonic clock."""

    @property
    def running(self) -> bool:
        """Whether a step runs in it."""

    @property
    def changing(self) -> bool:
        """Whether its kernel is just being stopped, replaced or read. That is brief, and its end calls `notify`."""

    def stop_kernel(self, reason: str) -> Coroutine[Any, Any, bool]:
        """End its kernel and release its slot, unless a step begins meanwhile."""


class KernelSlots:
    """The slots of one server. Belongs to the event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[str, SlotHolder | None] = {}
        self._waiting: list[str] = []
        """Sessions that wait for a slot, in the order in which they came."""
        self._giving_way: dict[str, asyncio.Task[bool]] = {}
        self._news = asyncio.Event()

    def check_free(self, session_id: str) -> None:
        """Raise at once what `acquire` would find: SessionBusy if a step runs in the holder of every slot."""
        if session_id not in self._held and len(self._held) >= self._limit and not self._not_running():
            holders = f"All {self._limit} sessions" if self._limit > 1 else "The one session"
            are = "are" if self._limit > 1 else "is"
            raise SessionBusy(
                f"{holders} that may have a kernel {are} running a step; the limit is RLM_MAX_SESSIONS.",
                "Wait for a step to end with rlm_await_step, stop one with rlm_interrupt, or ask the user for a "
                "higher limit.",
            )

    async def acquire(self, session_id: str, holder: SlotHolder | None = None) -> None:
        """Hold a slot from now on; call it again when a session that was being opened is there (`holder`).

        Raises:
            SessionBusy: every slot is held by a session that runs a step.
        """
        if session_id not in self._held:
            self._waiting.append(session_id)
            try:
                # First come, first served.
                while len(self._held) + self._waiting.index(session_id) >= self._limit:
                    self.check_free(session_id)
                    await self._make_room()
                self._held[session_id] = holder
            finally:
                self._waiting.remove(session_id)
                self.notify()  # those behind it in the queue have moved up
        elif holder is not None:
            self._held[session_id] = holder
            self.notify()

    def release(self, session_id: str) -> None:
        """Give the slot back; safe to call where none is held."""
        self._held.pop(session_id, None)
        self.notify()

    def notify(self) -> None:
        """A session may have become idle: let those who wait for a slot look again."""
        self._news.set()

    async def _make_room(self) -> None:
        """Have a session give way for each waiting one that finds no free slot, and wait until something has changed.

        One that is slow to give way, as hostile values can make it, holds up nobody: another is asked too.
        """
        # Before anyone is asked: the news of a session that gives way at once would be lost otherwise.
        self._news.clear()
        if len(self._giving_way) < len(self._waiting) + len(self._held) - self._limit:
            self._ask_oldest()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._news.wait()
        except TimeoutError:
            self._ask_oldest()

    def _ask_oldest(self) -> None:
        """Stop the kernel of the session that has been idle longest, if any is idle and not just being stopped."""
        idle = [
            held
            for held in self._not_running()
            if held is not None and not held.changing and held.session_id not in self._giving_way
        ]
        if not idle:
            return
        oldest = min(idle, key=lambda held: held.used_at_s)
        log.info("stopping the kernel of %s to make room", oldest.session_id)
        stop = oldest.stop_kernel("the server needed room for another session (RLM_MAX_SESSIONS)")
        task = self._giving_way[oldest.session_id] = asyncio.create_task(stop, name=f"{oldest.session_id} gives way")
        task.add_done_callback(lambda done: self._gave_way(oldest.session_id, done))

    def _gave_way(self, session_id: str, done: asyncio.Future[bool]) -> None:
        del self._giving_way[session_id]
        if not done.cancelled() and done.exception() is not None:
            log.error("the kernel of %s could not be stopped to make room", session_id, exc_info=done.exception())
        else:
            self.notify()

    def _not_running(self) -> list[SlotHolder | None]:
        """Who holds a slot and runs no step; None is a session that is being opened."""
        return [held for held in self._held.values() if held is None or not held.running]
