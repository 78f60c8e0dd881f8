"""The shared store of one process: the contract of `protocol.py`, over a place where bytes lie.

Is: checks of what is asked, threads for what blocks, a bound for each wait, and errors in words. Is not: an order of
writes (`committing.py`, `claiming.py`). Above: `opening.py`. Below: those, `sweeping.py`, `troubles.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from rlm_kernel_mcp.cluster.shared.claiming import Claiming, moved
from rlm_kernel_mcp.cluster.shared.committing import Committer, Wanted
from rlm_kernel_mcp.cluster.shared.groups import checked
from rlm_kernel_mcp.cluster.shared.log import Log
from rlm_kernel_mcp.cluster.shared.places.medium import (
    NODE_CHARS_MAX,
    Claimed,
    Medium,
    blob_name,
    epoch_checked,
    is_session_name,
    session_name,
)
from rlm_kernel_mcp.cluster.shared.protocol import Claim, FaultPoints, Frame, Judge, Room, Swept
from rlm_kernel_mcp.cluster.shared.scanning import Scans
from rlm_kernel_mcp.cluster.shared.sweeping import Forgetting, public, swept
from rlm_kernel_mcp.cluster.shared.troubles import too_slow, unavailable
from rlm_kernel_mcp.errors import RlmError, SessionMoved, StoreDamaged
from rlm_kernel_mcp.units import MB

log = logging.getLogger(__name__)
T = TypeVar("T")
WITHIN_S: Final = 10.0
"""How long one answer of the store is waited for."""
LONG_S: Final = 300.0
"""As above, for what goes over many bytes: a claim, a blob, a sweep."""
FREE_S: Final = 1.0
SWEEP_S: Final = 3_600.0
"""Between two sweeps of one process: by then whoever has put a blob has opened its session, or never will."""
THREADS: Final = 8
NOBODY: Final = ""
"""For whom a blob is put before there is a session."""


class Store:
    """One process's: it has one log, made at its first claim."""

    def __init__(self, medium: Medium, faults: FaultPoints, within_s: float = WITHIN_S) -> None:
        self._medium = medium
        self._scans = Scans(medium)
        self._at = faults
        self._within_s = within_s
        self._long_s = within_s * LONG_S / WITHIN_S
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="shared store")
        self._committer: Committer | None = None
        self._is_prepared = False
        self._making = threading.Lock()
        self._own: dict[str, tuple[Claimed, Committer]] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def claim(self, session_id: str, epoch: int, node: str) -> None:
        session_name(session_id)
        if not 1 <= len(node) <= NODE_CHARS_MAX:
            raise ValueError(f"a node's name has 1 to {NODE_CHARS_MAX} characters, and not {len(node):,}")
        doing = f"the claim of epoch {epoch_checked(epoch)} of {session_id}"
        made = await self._done(partial(self._claim, session_id, epoch, node), doing, self._long_s)
        self._own[session_id] = made
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep_now_and_then())

    def _claim(self, session_id: str, epoch: int, node: str) -> tuple[Claimed, Committer]:
        with self._making:
            if self._committer is not None and self._medium.is_log_sealed(self._committer.log.name):
                self._committer.end()
                self._committer = None
            if self._committer is None:
                self._committer = Committer(self._medium, Log(self._medium, self._at), self._at)
            committer = self._committer
        claiming = Claiming(self._medium, self._scans, committer, self._at, self._within_s)
        return claiming.claim(session_id, epoch, node), committer

    async def newest(self, session_id: str) -> Claim | None:
        if not is_session_name(session_id):  # which a client may ask for
            return None
        return await self._done(partial(self._newest, session_id), f"the search for who has {session_id}")

    def _newest(self, session_id: str) -> Claim | None:
        claims = self._medium.claims(session_id)
        if claims and not self._medium.is_own(claims[-1]):  # sealed: there is a newer one, which is not shown yet
            self._medium.refresh(session_id)
            claims = self._medium.claims(session_id)
        return public(claims[-1]) if claims else None

    async def sessions(self) -> list[Claim]:
        return await self._done(self._sessions, "the list of sessions", self._long_s)

    def _sessions(self) -> list[Claim]:
        claims = (self._medium.claims(session_id) for session_id in self._medium.sessions())
        return [public(of_one[-1]) for of_one in claims if of_one]

    async def append(self, session_id: str, epoch: int, frames: Sequence[Frame]) -> None:
        checked(frames)
        claim, committer = self._held(session_id, epoch)
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wanted = Wanted(claim, tuple(frames), told=told)
        doing = f"an append of {len(frames):,} frames ({wanted.size / MB:,.1f} MB) to {session_id}"
        try:
            committer.commit(wanted)
            await self._ended(told, doing, self._within_s)
        except SessionMoved:
            self._own.pop(session_id, None)
            raise

    async def read(self, session_id: str, epoch: int) -> AsyncIterator[Frame]:
        _, committer = self._held(session_id, epoch)
        key, doing = (session_id, epoch), f"the reading of {session_id}"
        for spot in committer.log.whereabouts(key):
            body = await self._done(partial(committer.log.body, key, spot), doing)
            if body is not None:
                yield Frame(spot.kind, spot.key, body)

    async def leave(self, session_id: str, epoch: int) -> None:
        _, committer = self._held(session_id, epoch)
        del self._own[session_id]
        committer.leave((session_id, epoch))

    async def put_blob(self, session_id: str, sha256: str, chunks: Iterable[bytes]) -> None:
        name = blob_name(sha256)
        user = NOBODY if session_id == NOBODY else session_name(session_id)
        await self._done(partial(self._put_blob, user, name, chunks), f"the putting of blob {name[:12]}", self._long_s)

    def _put_blob(self, session_id: str, sha256: str, chunks: Iterable[bytes]) -> None:
        if session_id != NOBODY:
            self._medium.use_blob(session_id, sha256)
        self._medium.spare_blob(sha256)
        if not self._medium.has_blob(sha256):
            self._medium.put_blob(sha256, chunks)

    async def has_blob(self, sha256: str) -> bool:
        return await self._done(partial(self._medium.has_blob, blob_name(sha256)), f"the search for blob {sha256[:12]}")

    async def blob(self, sha256: str) -> AsyncIterator[bytes]:
        name, hashed = blob_name(sha256), hashlib.sha256()
        pieces, doing = self._medium.blob(name), f"the reading of blob {name[:12]}"

        def next_piece() -> bytes:
            try:
                return next(pieces, b"")
            except FileNotFoundError:
                raise StoreDamaged(f"The shared store has no blob {name[:12]}.") from None

        while piece := await self._done(next_piece, doing):
            hashed.update(piece)
            yield piece
        if hashed.hexdigest() != name:
            raise StoreDamaged(f"The shared store is damaged: blob {name[:12]} has another hash than its name.")

    async def remove(self, session_id: str) -> None:
        name = session_name(session_id)
        own = self._own.pop(name, None)
        await self._done(partial(self._remove, name), f"the removal of {name}", self._long_s)
        if own is not None:
            own[1].leave((name, own[0].epoch))

    def _remove(self, session_id: str) -> None:
        for claim in self._medium.claims(session_id):  # the newest last: none of the older ones counts meanwhile
            self._medium.seal(claim)
            self._medium.drop_claim(claim)
        self._medium.drop_session(session_id)

    async def forget(self, node: str, judge: Judge) -> list[str]:
        forgetting = Forgetting(self._medium, self._scans, node, judge)
        return await self._done(forgetting.forgotten, "the removal of sessions that nobody needs", self._long_s)

    async def room(self) -> Room:
        free = await self._done(self._medium.free_bytes, "the question for free room")
        own = None if self._committer is None else self._committer.log
        return Room(
            free_mb=None if free is None else free // MB,
            log_mb=0 if own is None else own.size // MB,
            live_mb=0 if own is None else own.index.live_bytes() // MB,
            sessions=len(self._own),
        )

    async def sweep(self) -> Swept:
        own = None if self._committer is None else self._committer.log.name
        return await self._done(partial(swept, self._medium, own), "a sweep", self._long_s)

    async def _sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                found = await self.sweep()
            except RlmError as error:
                log.warning("the shared store could not be swept: %s", error.message)
            else:
                log.info("swept out of the shared store: %d logs and %d blobs", found.logs, found.blobs)

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._own.clear()
        with suppress(RlmError, OSError):  # what it had is in the store, and a log that stays is swept once
            await self._answered(self._pool.submit(self._close), "the end", self._within_s)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _close(self) -> None:
        committer, self._committer = self._committer, None
        if committer is not None and committer.close():
            name = committer.log.name
            claims = (claim for session_id in self._medium.sessions() for claim in self._medium.claims(session_id))
            if all(claim.log != name for claim in claims):
                self._medium.drop_log(name)
        self._medium.close()

    def _held(self, session_id: str, epoch: int) -> tuple[Claimed, Committer]:
        own = self._own.get(session_name(session_id))
        if own is None or own[0].epoch != epoch:
            raise (
                SessionMoved(f"Epoch {epoch:,} of session {session_id} is not this process's.")
                if own is None
                else moved(own[0])
            )
        return own

    async def _done(self, work: Callable[[], T], doing: str, within_s: float | None = None) -> T:
        def prepared() -> T:
            with self._making:
                if not self._is_prepared:
                    self._medium.prepare()
                    self._is_prepared = True
            return work()

        return await self._answered(self._pool.submit(prepared), doing, within_s or self._within_s)

    async def _answered(self, future: Future[T], doing: str, within_s: float) -> T:
        """What a thread makes, or in words why not. A thread that the store holds goes on alone."""
        return await self._ended(asyncio.wrap_future(future), doing, within_s)

    async def _ended(self, waited: asyncio.Future[T], doing: str, within_s: float) -> T:
        waited.add_done_callback(lambda one: None if one.cancelled() else one.exception())  # if nobody waits any more
        done, _ = await asyncio.wait({waited}, timeout=within_s)
        if not done:
            waited.cancel()
            raise too_slow(doing, within_s)
        error = waited.exception()
        if error is None:
            return waited.result()
        if isinstance(error, TimeoutError) and error.errno is None:
            raise too_slow(doing, within_s) from error
        if isinstance(error, OSError):
            raise unavailable(error, doing, await self._free()) from error
        raise error

    async def _free(self) -> int | None:
        """For a message: not known, where it is not told soon."""
        asked = asyncio.wrap_future(self._pool.submit(self._medium.free_bytes))
        await asyncio.wait({asked}, timeout=FREE_S)
        return asked.result() if asked.done() and asked.exception() is None else None
