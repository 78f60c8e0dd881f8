"""A session's parts in this node's own record and files, as frames of the shared store, and back.

Is: which kind of frame they are, and the store of this node that they are read from. Is not: what the parts are
(`session/carrying/`). Above: `host.py`, `moves.py`. Below: `kept.py`, `session/carrying/durable.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from rlm_kernel_mcp.cluster.node.kept import New
from rlm_kernel_mcp.cluster.shared.protocol import Frame
from rlm_kernel_mcp.session.calls.acknowledging import progress_of
from rlm_kernel_mcp.session.carrying.durable import Progress

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

PART: Final = 1
"""The kind of all frames of a session; another number would be another form of them."""
GONE: Final = "the node that had the session's kernel has ended, or has let it go"
GONE_WITH_LAG: Final = (
    f"{GONE}; it answered before the shared store had what it told (RLM_CLUSTER_DURABILITY=lag), so that its last step "
    "may be missing"
)


class Carrying:
    """Those of one node."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def begin(self) -> None:
        """Have the record note what changes in it, from now on."""
        await asyncio.to_thread(self._registry.store.following.begin)

    def progress(self, session_id: str) -> Progress | None:
        """As `Parts`."""
        session = self._registry.handles.sessions.get(session_id)
        return None if session is None else progress_of(session)

    async def added(self, progress: Progress, sent: Any, within_s: float, bytes_max: int) -> New:
        """As `Parts`. Raises: SessionBusy: this node's record cannot be read."""
        from rlm_kernel_mcp.session.carrying.outgoing import Sent, added  # it brings the store

        new = await added(self._registry.store, progress, sent or Sent(), within_s=within_s, bytes_max=bytes_max)
        frames = tuple(Frame(PART, key, body) for key, body in new.frames)
        return New(frames, new.sent, new.lacking, new.is_all)
