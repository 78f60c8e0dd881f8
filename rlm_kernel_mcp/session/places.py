"""How many sessions may have a kernel at a time, and who gives way.

Is: RLM_MAX_SESSIONS. A session holds its place from before its kernel starts until that kernel is stopped; a kernel
that is replaced keeps its place. Is not: the number of sessions, which is not limited: those without a kernel come
back on use. Above: `registry.py`, `kernel_life.py`. Below: nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rlm_kernel_mcp.errors import InvalidInput

StopIdle = Callable[[frozenset[str]], Awaitable[bool]]
"""Stop the kernel of the session, among those that hold a place, that has been idle longest; false if none is idle."""


class Places:
    """The places of one server. Belongs to the event loop."""

    def __init__(self, limit: int, stop_idle: StopIdle) -> None:
        self._limit = limit
        self._stop_idle = stop_idle
        self._held: set[str] = set()

    async def take(self, session_id: str) -> None:
        """Hold a place from now on; safe to call by who holds one.

        Raises:
            InvalidInput: every place is held by a session that runs a step.
        """
        while session_id not in self._held and len(self._held) >= self._limit:
            if not await self._stop_idle(frozenset(self._held)):
                raise InvalidInput(
                    f"All {self._limit} sessions that may have a kernel are running a step; the limit is "
                    "RLM_MAX_SESSIONS.",
                    "Wait for a step to end, or finalize a session that is done.",
                )
        self._held.add(session_id)

    def release(self, session_id: str) -> None:
        """Give the place back; safe to call by who holds none."""
        self._held.discard(session_id)
