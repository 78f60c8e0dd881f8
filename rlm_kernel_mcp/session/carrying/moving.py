"""The sessions of a server in a cluster come and go: one is taken over, one is let go, one has been taken by another.

Is: what becomes of what is in memory and of the record and the values here, in which order. Is not: whose a session is,
which is decided in a store that all nodes share (`cluster/`), nor what is carried between them. At home
nothing of it is called. Above: `session/handles.py`, `cluster/node/`. Below: `durable.py`, `store/`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, Protocol, TypeVar

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.carrying.incoming import carried_in
from rlm_kernel_mcp.session.carrying.outgoing import Sent
from rlm_kernel_mcp.session.snapshots.carried import Frame
from rlm_kernel_mcp.session.steps.outcomes import Outcomes
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.database.file import explain_error
from rlm_kernel_mcp.store.paths import snapshot_files
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.writer import Writer

TAKEN_OVER: Final = "another node drives the session now"

log = logging.getLogger(__name__)


class Movable(Protocol):
    """A session in memory."""

    session_id: str
    calls: int

    @property
    def running(self) -> bool: ...

    @property
    def has_kernel(self) -> bool: ...

    @property
    def changing(self) -> bool: ...

    async def close(self, reason: str) -> None:
        """End its step and its kernel, whatever they do."""


class Own(Protocol):
    """What a server has of its own (`ServerResources`)."""

    @property
    def settings(self) -> Settings: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def store(self) -> Store: ...

    @property
    def writer(self) -> Writer: ...

    @property
    def outcomes(self) -> Outcomes: ...


S = TypeVar("S", bound=Movable)


class Moves(Generic[S]):
    """Those of one server."""

    def __init__(self, own: Own, sessions: Mapping[str, S], let_go: Callable[[S], None]) -> None:
        """`sessions`: those in memory. `let_go`: forgets one of them, and gives its lock back."""
        self._state_dir, self._limits, self._outcomes = own.settings.state_dir, own.policy.snapshots, own.outcomes
        self._store, self._writer = own.store, own.writer
        self._sessions, self._let_go = sessions, let_go

    async def taken_over(self, session_id: str) -> None:
        """Another node drives a session: end its kernel, whatever runs in it, and keep nothing of it here."""
        if (session := self._sessions.get(session_id)) is not None:
            await session.close(TAKEN_OVER)
            self._let_go(session)
        self._outcomes.forget(session_id)
        self.remove(session_id)
        await self._writer.settled(session_id)

    def remove(self, session_id: str) -> None:
        """Remove the record and the values of a session that is another node's, once all that is under way is."""
        if session_id not in self._sessions:
            self._writer.do(session_id, lambda: self._removed(session_id))

    async def take_over(self, session_id: str, frames: Iterable[Frame], why: str) -> Sent:
        """Make a session one of this server's: its first use restores it, as one that an earlier server has left.

        `frames`: its values and its rows, iterated once, in a thread. `why`: what became of its kernel, if it had one.

        Returns: what others have of it. Raises: as `carried_in`, and what `frames` raises: nothing of it is here then.
        """
        await self.taken_over(session_id)  # what an earlier time left here is not what the session is now

        def bring() -> Sent:
            lock = self._store.acquire(session_id, is_new=True)
            if lock is None:
                raise SessionBusy(f"Session {session_id} is driven by another process that has this node's directory.")
            try:
                return carried_in(self._store, self._state_dir, self._limits, session_id, frames, why)
            except BaseException:
                self._removed(session_id)
                raise
            finally:
                self._store.let_go(session_id)
                lock.release()

        return await self._writer.made(session_id, bring)

    def _removed(self, session_id: str) -> None:
        self._store.remove_session(session_id)
        self._store.following.forget(session_id)
        try:
            for path in snapshot_files(self._state_dir, session_id):
                path.unlink(missing_ok=True)
        except OSError as error:  # nobody opens them: the record is gone, and an adoption writes them anew
            log.warning("values of a session that has moved stay: %s", explain_error(error))


def require_laid_down(session: Movable) -> None:
    """Raise SessionBusy if somebody has used a session since its kernel was ended for another node."""
    if session.calls or session.running or session.has_kernel or session.changing:
        raise SessionBusy(f"Session {session.session_id} is used again.", "Call the tool again soon.")
