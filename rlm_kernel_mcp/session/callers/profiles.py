"""The registries of one process: one for each set of settings that makes other kernels or another record.

Is: which clients share kernels, fork server, spare kernel and record, which is decided by their settings alone, and by
whose registry a handle is answered. Is not: what is a client's own (`caller.py`), nor a registry, which whoever makes
this opens. Above: `server/mcp_server.py`. Below: `session/kernels/slots.py`, the settings.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.settings import Settings

log = logging.getLogger(__name__)
OF_KERNELS: Final = frozenset({"RLM_IMPORT_POLICY", "RLM_MEMORY_LIMIT_MB"})
"""Where one of these is not set, the kernelspec's policy says: whether it is belongs to the profile."""


class HasSessions(Protocol):
    """`Registry`, as far as it is known here."""

    def has(self, session_id: str) -> bool:
        """Whether it has a session in memory, or is about to."""

    async def close(self) -> None:
        """End all that it has."""


R = TypeVar("R", bound=HasSessions)


def profile_of(settings: Settings) -> Settings:
    """The settings without what is a client's own: who has the same ones shares kernels, and nobody else does."""
    return replace(
        settings,
        context_roots=(),
        working_dir=Path("/"),
        home=None,
        max_sessions=1,
        host_idle_s=0,
        host_wait_s=0,
        imports=tuple(sorted(set(settings.imports))),
        state_dir=Path(os.path.realpath(settings.state_dir)),
        chosen=settings.chosen & OF_KERNELS,
    )


def require_kernelspec(settings: Settings) -> None:
    """Refuse a client at its start, and not at its first call. Raises: InvalidInput: its kernelspec is not there."""
    locked_kernelspec(settings.kernel, settings.jupyter)


class Profiles(Generic[R]):
    """The registries, made on demand. Belongs to one event loop."""

    def __init__(
        self, open_registry: Callable[[Settings, KernelSlots], Awaitable[R]], max_sessions_in_sum: int | None = None
    ) -> None:
        """`max_sessions_in_sum`: of all clients together (`KernelSlots`); None: there is one client, and its own limit.

        The registries of several clients have nothing of one of them, those of one client its settings as they are.
        """
        self._open_registry = open_registry
        self._in_sum = max_sessions_in_sum
        self._slots: KernelSlots | None = None
        self._opening: dict[Settings, asyncio.Task[R]] = {}
        self._closed = False

    async def registry(self, settings: Settings) -> R:
        """The registry of a client with these settings. A caller that is cancelled leaves the opening alone.

        Raises:
            What the opening raises, each time anew: the next call tries again.
        """
        assert not self._closed
        profile = profile_of(settings)
        opening = self._opening.get(profile)
        if opening is None or _has_failed(opening):
            wanted = settings if self._in_sum is None else profile
            opening = self._opening[profile] = asyncio.create_task(self._opened(wanted), name="open a registry")
        return await asyncio.shield(opening)

    async def _opened(self, settings: Settings) -> R:
        if self._slots is None:
            self._slots = KernelSlots(settings.max_sessions, self._in_sum)
        return await self._open_registry(settings, self._slots)

    async def of_session(self, settings: Settings, session_id: str) -> R:
        """The registry by which a client's call with a handle is answered.

        The one that has the session, if its record is in this client's state directory: a session stays with the
        kernels that it has, whoever uses it. Else the client's own, which opens it again from its record.
        """
        own = await self.registry(settings)
        return self.having(session_id, profile_of(settings).state_dir) or own

    def having(self, session_id: str, state_dir: Path | None = None) -> R | None:
        """The registry that has a session in memory, or just opens it. `state_dir`: where its record has to be."""
        wanted = (one for profile, one in self._opening.items() if state_dir in (None, profile.state_dir))
        open_ones = (opening.result() for opening in wanted if opening.done() and not _has_failed(opening))
        return next((one for one in open_ones if one.has(session_id)), None)

    async def close(self) -> None:
        """End all of them at the same time, whatever state their opening is in. Safe to call twice."""
        self._closed = True
        openings, self._opening = list(self._opening.values()), {}
        for opening in openings:
            opening.cancel()
        if openings:
            await asyncio.wait(openings)
        registries = [opening.result() for opening in openings if not _has_failed(opening)]
        for problem in await asyncio.gather(*(one.close() for one in registries), return_exceptions=True):
            if isinstance(problem, BaseException):
                log.error("a registry's close failed", exc_info=problem)


def _has_failed(opening: asyncio.Task[R]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)
