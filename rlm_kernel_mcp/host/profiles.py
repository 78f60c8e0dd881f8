"""The registries of a host, as its connections and its lifetime need them.

Is: `session/callers/profiles.py` with the bound of all clients together, what a connection is given of a registry, and
whether any of them is at work. Is not: which clients share a registry, which is decided there. Above: `serving.py`.
Below: `session/callers/profiles.py`, `server/mcp_server.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.server.mcp_server import opened
from rlm_kernel_mcp.session.callers.elsewhere import Elsewhere
from rlm_kernel_mcp.session.callers.profiles import Profiles
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.session.watching.feeds import Feeds
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import shielded

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

SESSIONS_IN_SUM: Final = 256
"""Sessions with a kernel, of all clients of a host; each client has its own RLM_MAX_SESSIONS at most."""
HAND_OVER_S: Final = 60.0
"""How long the values of a session may take to be kept that another host has asked for."""


class HostRegistries:
    """Every registry of the host."""

    def __init__(self, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere
        self.feeds = Feeds()
        """Who watches a session, whichever registry has it."""
        self._slots: KernelSlots | None = None
        self._profiles: Profiles[Registry] = Profiles(self._open, SESSIONS_IN_SUM)
        # What a registry goes on doing, and logs, is not the doing of the client that was first.
        self._nobody = contextvars.copy_context()

    async def registry_for(self, settings: Settings) -> Registry:
        """The registry that clients of these settings use; its `close` ends nothing.

        Raises:
            As `Registry.open` does; the next client tries again.
        """
        loop = asyncio.get_running_loop()
        one = copy.copy(await loop.create_task(self._profiles.registry(settings), context=self._nobody))
        one.close = _nothing  # type: ignore[method-assign]
        return one

    async def of_session(self, settings: Settings, session_id: str) -> Registry:
        """The registry that answers these clients' calls with a handle, which is nobody's to close.

        Raises:
            As `registry_for` does.
        """
        await self.registry_for(settings)  # where it has to be opened, by nobody
        return await self._profiles.of_session(settings, session_id)

    async def hand_over(self, session_id: str, to: str) -> None:
        """Let another process have a session, with its values. It goes on where its caller does not wait.

        Raises:
            SessionBusy: it is used here.
        """
        if one := self._profiles.having(session_id):
            what = f"the handing over of {session_id}"
            await shielded(one.handles.hand_over(session_id, to), what, within_s=HAND_OVER_S)

    @property
    def is_busy(self) -> bool:
        """Whether a step runs or a session is being opened, be its client here or gone."""
        return self._slots is not None and self._slots.is_busy

    async def close(self) -> None:
        """End every kernel of every registry."""
        await self._profiles.close()

    async def _open(self, profile: Settings, slots: KernelSlots) -> Registry:
        self._slots = slots  # those of all
        registry = await opened(profile, slots, self.feeds)
        registry.handles.elsewhere = self._elsewhere
        return registry


async def _nothing() -> None:
    return
