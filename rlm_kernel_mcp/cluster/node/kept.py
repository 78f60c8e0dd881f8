"""One session of a node, as far as it is in the shared store: what is there, what is to come, and the waits for it.

Is: the state of a session's replication, and the words and bounds of waits. Is not: the appends (`replication.py`).
Above: `replication.py`. Below: errors, `cluster/shared/protocol.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from rlm_kernel_mcp.cluster.shared.protocol import Claim, Frame, SharedStore
from rlm_kernel_mcp.errors import RlmError, SessionMoved, StoreUnavailable
from rlm_kernel_mcp.session.carrying.durable import Progress
from rlm_kernel_mcp.text.safe_text import safe_text

log = logging.getLogger(__name__)

AGAIN: Final = (
    "Nothing is lost as long as this node lives: call rlm_await_step for the report of a step that has ended, or the "
    "same again, once the shared store answers."
)


@dataclass(frozen=True, slots=True)
class New:
    """What is new of a session."""

    frames: tuple[Frame, ...]
    sent: Any
    """What the store has once they are appended; given back the next time."""
    lacking: tuple[str, ...] = ()
    """Names whose newest values the store does not have even then."""
    is_all: bool = True
    """Whether it has all rows then."""


class Parts(Protocol):
    """The parts of a session in this node's own record and files."""

    def progress(self, session_id: str) -> Progress | None:
        """How far a session is that is in memory; None: it is not."""

    async def added(self, progress: Progress, sent: Any, within_s: float, bytes_max: int) -> New:
        """What the store does not have yet, in its order: values, then rows, and the session's own last.

        `within_s`: how long values are waited for that are not in this node's files yet. `bytes_max`: of values.

        Raises: RlmError: this node's own record cannot be read.
        """


@dataclass(slots=True)
class Kept:
    """One session that this node drives."""

    session_id: str
    epoch: int
    sent: Any = None
    wanted: int = 0
    """Number of the last answer that wants what there is by then."""
    done: int = 0
    """And up to which one the rows are durable."""
    told: int = 0
    """The same as `wanted`, of answers alone: it is wanted too as a step begins."""
    progress: Progress | None = None
    lacking: tuple[str, ...] = ()
    moved: SessionMoved | None = None
    is_leaving: bool = False
    """Whether it is being released."""
    failed: RlmError | None = None
    """Why the last append failed; it is tried again."""
    is_refused: bool = False
    """Whether that is so however often it is tried: nobody waits for it. What comes next may be taken."""
    work: asyncio.Task[None] | None = None
    begins: int = 0
    """Steps that have begun while it was this node's."""
    used_at_s: float = field(default_factory=time.monotonic)
    """When somebody asked for it last."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at each end of an append, and made anew."""

    follows: bool = False
    """Whether values are on their way that no answer waited for."""

    @property
    def is_behind(self) -> bool:
        """Whether there is something to append."""
        return self.done < self.wanted or self.follows

    def tell(self) -> None:
        told, self.news = self.news, asyncio.Event()
        told.set()


@asynccontextmanager
async def within(seconds: float, what: str, kept: Kept | None = None, *, before_s: float = 0.0) -> AsyncIterator[None]:
    """Raise StoreUnavailable where it takes longer. `before_s`: for how long it has been waited for already."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        failed = None if kept is None else kept.failed
        why = f"it took more than {(before_s + seconds) * 1000:,.0f} ms" if failed is None else failed.message
        raise StoreUnavailable(f"{what}: {why}", AGAIN) from None


async def appended(shared: SharedStore, kept: Kept, frames: tuple[Frame, ...]) -> None:
    """Append frames of a session. Raises: SessionMoved, StoreUnavailable: also where the store never takes them."""
    try:
        await shared.append(kept.session_id, kept.epoch, frames)
        kept.is_refused = False
    except ValueError as error:
        kept.is_refused = True
        raise StoreUnavailable(f"The shared store takes no such part of a session: {error}.", AGAIN) from None


async def removed(shared: SharedStore, claim: Claim) -> None:
    """Remove a session that has nothing in the store, as one that was not opened: nobody will ever ask for it.

    One of the same name that is another node's stays. Where the store does not answer a claim stays, to nobody's harm.
    """
    try:
        if await shared.newest(claim.session_id) == claim:
            await shared.remove(claim.session_id)
    except RlmError as error:
        log.info("session %s, which is empty, stays in the shared store: %s", claim.session_id, error.message)


def not_there(progress: Progress) -> str:
    return f"What session {progress.session_id} has by its step {progress.step} is not in the shared store yet"


def not_here(session_id: str, node: str) -> SessionMoved:
    """What is said of a session that a node does not drive."""
    return SessionMoved(f"Session {safe_text(session_id)} is not driven by node {node}.")


def moved_again(moved: SessionMoved) -> SessionMoved:
    """The same once more, to be raised."""
    return SessionMoved(moved.message, moved.next_step)
