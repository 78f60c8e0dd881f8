"""What a node adds to the shared store with each answer, and what an answer waits for.

Is: `Durable` of a node's registry: one append at a time for each session, its bounds, what is behind, and the end of a
session that another node has taken over. Is not: what is in the frames (`carrying.py`), the store (`cluster/shared/`),
nor the calls (`host.py`). Above: `host.py`, `moves.py`. Below: `kept.py`, those.

A report leaves when the step's rows are in the store, under an epoch that was still this node's after that. Values
that were too large or too slow for that (`durable_mb`, `durable_ms`) are named, and follow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from rlm_kernel_mcp.cluster.node.kept import Kept, Parts, appended, moved_again, not_here, not_there, removed, within
from rlm_kernel_mcp.cluster.shared.protocol import Claim, SharedStore
from rlm_kernel_mcp.errors import RlmError, SessionMoved
from rlm_kernel_mcp.session.carrying.durable import Progress
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.units import MB
from rlm_kernel_mcp.variables.cluster import ClusterSettings

log = logging.getLogger(__name__)

VALUES_SHARE: Final = 0.5
"""Of `durable_ms`: how long a step's rows wait for its values to be in this node's own files."""
FOLLOW_S: Final = 60.0
"""And how long values that no answer waits for."""
FOLLOW_MB: Final = 256
"""Of such values at once, which is more than one may have; of one session at a time."""
RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
LATE_S: Final = 10.0
"""How much longer than `durable_ms` rows are waited for where the store has not failed: the step has run by then, and
its report is worth more than an error."""
NEW_EPOCH: Final = 1
"""Of a session that is opened here."""
OPEN_S: Final = 30.0
"""How long the opening of a session waits for the store, for the claim and for the rows."""
NOT_OPENED: Final = "A session could not be opened: the shared store does not have it yet"
RELEASE_S: Final = 60.0
"""How long a release waits for values to be in the store."""
CLOSE_S: Final = 5.0
"""How long the end of a node waits for what is on its way."""
BEGUN_S: Final = 0.05
"""A step that runs longer than this is told to the store before its end."""


class Replication:
    """The sessions of one node, as others can have them. `Durable` of `session/carrying/durable.py`."""

    def __init__(self, cluster: ClusterSettings, shared: SharedStore, on_moved: Callable[[str], object]) -> None:
        """`on_moved`: is told of a session that another node has taken over, once. `parts` is set before any comes."""
        self._cluster, self._shared, self._on_moved = cluster, shared, on_moved
        self.parts: Parts | None = None
        self._sessions: dict[str, Kept] = {}
        self._following = asyncio.Semaphore(1)

    # --- which sessions are this node's -----------------------------------------------------------

    @property
    def held(self) -> tuple[str, ...]:
        """The sessions that this node drives."""
        return tuple(self._sessions)

    def epoch_of(self, session_id: str) -> int:
        """Under which epoch it drives a session; 0: under none."""
        kept = self._sessions.get(session_id)
        return 0 if kept is None or kept.moved is not None else kept.epoch

    def driven(self, session_id: str) -> Kept:
        """A session that this node drives, to see later whether it still does. Raises: SessionMoved."""
        self.require(session_id)
        return self._sessions[session_id]

    def is_moved(self, session_id: str) -> bool:
        """Whether another node has taken over a session that was driven here, and is not forgotten yet."""
        kept = self._sessions.get(session_id)
        return kept is not None and kept.moved is not None

    def problem(self, session_id: str) -> str:
        """Why the store does not have all of a session; empty: nothing has failed."""
        kept = self._sessions.get(session_id)
        return "" if kept is None or kept.failed is None else kept.failed.message

    def require(self, session_id: str) -> None:
        kept = self._sessions.get(session_id)
        if kept is None or kept.is_leaving:
            raise not_here(session_id, self._cluster.node)
        if kept.moved is not None:
            raise moved_again(kept.moved)
        kept.used_at_s = time.monotonic()

    def unused(self, for_s: float) -> list[str]:
        """The sessions that nobody has asked for in so many seconds."""
        since_s = time.monotonic() - for_s
        return [kept.session_id for kept in self._sessions.values() if kept.used_at_s < since_s]

    def begun(self, session_id: str) -> None:
        """Have the store know of a step that takes a while; of a short one its end comes as soon, and is enough."""
        if (kept := self._sessions.get(session_id)) is None:
            return
        kept.begins += 1  # where it has moved since, too: its code is about to run

        def tell() -> None:
            progress = kept.progress or (self.parts and self.parts.progress(session_id))
            if self._sessions.get(session_id) is kept and kept.wanted == wanted and progress:
                self._want(kept, progress)

        wanted = kept.wanted
        asyncio.get_running_loop().call_later(BEGUN_S, tell)

    def take(self, session_id: str, epoch: int, sent: Any) -> None:
        """Drive a session from now on, of which the store has `sent`."""
        self._sessions[session_id] = Kept(session_id, epoch, sent)

    def forget(self, session_id: str) -> None:
        """Drive it no more; nothing is appended from here on."""
        if (kept := self._sessions.pop(session_id, None)) is None:
            return
        kept.moved = kept.moved or not_here(session_id, self._cluster.node)
        if kept.work is not None:
            kept.work.cancel()
        kept.tell()

    @contextmanager
    def leaving(self, session_id: str) -> Iterator[None]:
        """While it is being released no call of it begins; where that fails it stays."""
        kept = self._sessions[session_id]
        kept.is_leaving = True
        try:
            yield
        finally:
            kept.is_leaving = False

    async def close(self) -> None:
        """The node ends: what is on its way may still come, and nothing more is appended."""
        works = [kept.work for kept in self._sessions.values() if kept.work is not None and kept.is_behind]
        if works:
            await asyncio.wait(works, timeout=CLOSE_S)
        for session_id in self.held:
            self.forget(session_id)

    # --- what answers wait for ----------------------------------------------------------------------

    async def opened(self, progress: Progress) -> None:
        if progress.parent_id:
            return
        session_id = progress.session_id
        try:
            async with within(OPEN_S, NOT_OPENED):
                await self._shared.claim(session_id, NEW_EPOCH, self._cluster.node)
            self.take(session_id, NEW_EPOCH, None)
            kept = self._sessions[session_id]
            async with within(OPEN_S, NOT_OPENED, kept):
                await self._reached(kept, self._want(kept, progress))
        except BaseException:
            await shielded(self.withdraw(session_id), f"the removal of {session_id}")
            raise

    async def withdraw(self, session_id: str) -> None:
        """Drive a session no more that was just opened, and of which nobody has the handle; nor does the store."""
        self.forget(session_id)
        await removed(self._shared, Claim(session_id, NEW_EPOCH, self._cluster.node))

    async def kept(self, progress: Progress) -> tuple[str, ...]:
        if progress.parent_id:
            return ()
        self.require(progress.session_id)
        kept = self._sessions[progress.session_id]
        number = self._want(kept, progress)
        before, kept.told = kept.told, number
        if self._cluster.waits:
            await self._rows_there(kept, number, progress)
            return kept.lacking
        # What the answer before this one has told is there: so no more than one step is on this node alone.
        await self._rows_there(kept, before, progress)
        await self.look(kept)
        return ()

    async def _rows_there(self, kept: Kept, number: int, progress: Progress) -> None:
        """Wait for an append; a store that is slow and has not failed gets longer. Raises: SessionMoved."""
        durable_s = self._cluster.durable_ms / 1000
        try:
            async with asyncio.timeout(durable_s):
                await self._reached(kept, number)
        except TimeoutError:
            late_s = LATE_S if kept.failed is None else 0.0
        else:
            return
        async with within(late_s, not_there(progress), kept, before_s=durable_s):
            await self._reached(kept, number)

    async def look(self, kept: Kept) -> None:
        """See that the epoch is still this node's, without a wait for what others append. Raises: SessionMoved."""
        newest = await self._shared.newest(kept.session_id)
        if newest is None or newest.epoch != kept.epoch:
            self._moved(kept, SessionMoved(f"Session {kept.session_id} was taken over by another node."))
        if kept.moved is not None:
            raise moved_again(kept.moved)

    def _moved(self, kept: Kept, moved: SessionMoved) -> None:
        if kept.moved is None:
            log.warning("%s", moved.message)
            kept.moved = moved
            self._on_moved(kept.session_id)

    async def released(self, progress: Progress) -> None:
        if not progress.parent_id and (kept := self._sessions.get(progress.session_id)) is not None:
            self._want(kept, progress)
            await self.all_there(progress.session_id, RELEASE_S)

    async def all_there(self, session_id: str, within_s: float) -> None:
        """Return when the store has all of a session, values too. Raises: SessionMoved, StoreUnavailable."""
        if (kept := self._sessions.get(session_id)) is None:
            raise not_here(session_id, self._cluster.node)
        if kept.progress is None:  # nobody has used it here
            return
        async with within(within_s, not_there(kept.progress), kept):
            while kept.is_behind:
                await self._next(kept)
        if kept.moved is not None:
            raise moved_again(kept.moved)

    # --- the appends ----------------------------------------------------------------------------------

    def _want(self, kept: Kept, progress: Progress) -> int:
        """Have what there is by now appended. Its number."""
        kept.wanted += 1
        kept.progress, kept.is_refused = progress, False
        if kept.work is None or kept.work.done():
            kept.work = asyncio.create_task(self._follow(kept), name=f"replication of {kept.session_id}")
        return kept.wanted

    async def _reached(self, kept: Kept, number: int) -> None:
        """Raises: SessionMoved."""
        while kept.done < number:
            await self._next(kept)
        if kept.moved is not None:
            raise moved_again(kept.moved)

    async def _next(self, kept: Kept) -> None:
        """Raises: SessionMoved; TimeoutError: what is waited for never comes."""
        if kept.moved is not None:
            raise moved_again(kept.moved)
        if kept.is_refused:
            raise TimeoutError  # of whoever bounds the wait, which says why
        await kept.news.wait()

    async def _follow(self, kept: Kept) -> None:
        """Append what is new, until there is nothing; what fails is tried again, as long as the session is here."""
        pause_s = RETRY_FIRST_S
        while kept.is_behind and kept.moved is None:
            if await self._is_appended(kept):
                pause_s = RETRY_FIRST_S
            elif kept.moved is None:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)

    async def _is_appended(self, kept: Kept) -> bool:
        """Whether what is new is in the store now; who waits for it is told in any case."""
        try:
            await self._append(kept)
        except SessionMoved as moved:
            self._moved(kept, moved)
            return False
        except RlmError as error:
            kept.failed = error
            log.warning("session %s is behind in the shared store: %s", kept.session_id, error.message)
            return False
        else:
            kept.failed = None
            return True
        finally:
            kept.tell()

    async def _append(self, kept: Kept) -> None:
        """One append. Raises: SessionMoved, StoreUnavailable, SessionBusy of the own record."""
        number, progress, parts = kept.wanted, kept.progress, self.parts
        assert progress is not None
        assert parts is not None
        answers = kept.done < number  # else only values that an answer did not wait for
        within_s, most_mb = FOLLOW_S, FOLLOW_MB
        if answers:
            within_s, most_mb = self._cluster.durable_ms / 1000 * VALUES_SHARE, self._cluster.durable_mb
        async with nullcontext() if answers else self._following:
            new = await parts.added(progress, kept.sent, within_s, most_mb * MB)
            await appended(self._shared, kept, new.frames)
        # What is lacking follows as long as that brings more of it: a value that its kernel does not give never comes.
        comes = answers or new.lacking != kept.lacking or not new.is_all
        kept.sent, kept.lacking, kept.follows = new.sent, new.lacking, bool(new.lacking) and comes
        if new.is_all:
            kept.done = number
