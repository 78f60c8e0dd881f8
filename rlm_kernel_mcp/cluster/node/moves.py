"""The sessions that come to a node and go from it: adopted, released, taken over by another, drained.

Is: in which order the shared store, this node's record and its kernels are told. Is not: what is in a frame
(`carrying.py`), nor what becomes of a session here (`session/carrying/moving.py`). Above: `host.py`. Below:
`replication.py`, `carrying.py`, `cluster/shared/`, `session/registry.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from rlm_kernel_mcp.cluster.contexts.placing import placed
from rlm_kernel_mcp.cluster.node.carrying import GONE, GONE_WITH_LAG, PART
from rlm_kernel_mcp.cluster.node.kept import removed
from rlm_kernel_mcp.cluster.node.replication import RELEASE_S, Replication
from rlm_kernel_mcp.cluster.shared.protocol import Claim, Frame, SharedStore
from rlm_kernel_mcp.errors import (
    ContextTooLarge,
    InvalidInput,
    NoRoom,
    RlmError,
    SessionBusy,
    SessionMoved,
    SessionNotFound,
    StoreDamaged,
    StoreUnavailable,
)
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.store.database.file import explain_error
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.variables.cluster import ClusterSettings

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)

RELEASED: Final = "another node is to drive the session"
FRAME_S: Final = 60.0
"""How long an adoption waits for one frame of the store."""
AT_ONCE: Final = 8
"""Sessions that are released at the same time."""
LOOK_S: Final = 0.25
"""Between two looks of a drain for sessions whose steps have ended."""
END_S: Final = 60.0
FIRST_S: Final = 30.0
"""How long whoever has it drained waits for what can go at once."""
STAYING_MAX: Final = 20
"""Sessions of which a node that is drained says why it still has them."""
IDLE_LOOK_S: Final = 30.0
"""Between two looks for sessions that nobody uses."""


class NodeMoves:
    """Those of one node."""

    def __init__(
        self, cluster: ClusterSettings, registry: Registry, replication: Replication, shared: SharedStore
    ) -> None:
        self._node, self._gone = cluster.node, GONE if cluster.waits else GONE_WITH_LAG
        self._registry, self._replication, self._shared = registry, replication, shared
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """A lock for each session that comes or goes."""
        self._tasks = set[asyncio.Task[None]]()
        self._drain: asyncio.Task[None] | None = None
        self._why = dict[str, str]()
        """Of sessions that could not be released the last time: why."""

    @property
    def is_draining(self) -> bool:
        """Whether it takes no session more."""
        return self._drain is not None

    @property
    def staying(self) -> dict[str, str]:
        """Of a node that is drained: which sessions it still has, some of them, and why."""
        held = self._replication.held if self.is_draining else ()
        known = ((one, self._why.get(one) or self._replication.problem(one)) for one in held)
        return dict(islice(((one, why) for one, why in known if why), STAYING_MAX))

    async def close(self) -> None:
        """Begin nothing more."""
        tasks = [*self._tasks, *([self._drain] if self._drain else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def adopt(self, session_id: str, epoch: int) -> None:
        """Claim the epoch, and write record and values here; the first use restores.

        Raises:
            SessionMoved: somebody has this epoch, or a newer one. SessionNotFound: the store has no such session.
            StoreUnavailable, StoreDamaged: another node may try it, or this one again.
        """
        async with self._turn(session_id):
            held = self._replication.epoch_of(session_id)
            if held == epoch:
                return  # a router asks again that did not hear the answer
            if held > epoch:
                raise SessionMoved(f"Node {self._node} drives session {safe_text(session_id)} under a newer epoch.")
            if await self._shared.newest(session_id) is None:
                raise _unknown(session_id)
            self._replication.forget(session_id)
            await self._shared.claim(session_id, epoch, self._node)
            frames = self._shared.read(session_id, epoch)
            if (first := await _next(frames)) is None:  # it was removed meanwhile, or nobody ever had its handle
                await self._registry.handles.moves.taken_over(session_id)
                await removed(self._shared, Claim(session_id, epoch, self._node))
                raise _unknown(session_id)
            parts = _parts_of(first, frames)
            try:
                sent = await self._registry.handles.moves.take_over(session_id, parts, self._gone)
            except (OSError, SessionBusy) as error:
                why = error.message if isinstance(error, SessionBusy) else explain_error(error)
                raise NoRoom(f"Node {self._node} cannot take session {session_id}: {why}") from None
            await self._place_files(session_id)
            self._replication.take(session_id, epoch, sent)

    async def _place_files(self, session_id: str) -> None:
        """Have the files of its contexts here; its first use tells of those that are not. Raises: StoreUnavailable."""
        store, state_dir = self._registry.store, self._registry.settings.state_dir
        record = await asyncio.to_thread(store.session, session_id, whole=False)
        for manifest in _manifests_of("{}" if record is None else record.context_ref):
            try:
                await placed(self._shared, state_dir, manifest)
            except (StoreDamaged, ContextTooLarge, InvalidInput) as error:
                log.warning("a context of session %s cannot be had here: %s", session_id, error.message)

    async def release(self, session_id: str) -> None:
        """Let a session go.

        Raises:
            SessionBusy: it is used. SessionMoved: it is not this node's. StoreUnavailable: it stays here.
        """
        async with self._turn(session_id):
            self._replication.require(session_id)
            with self._replication.leaving(session_id):
                await self._handed_over(session_id)
                await self._replication.all_there(session_id, RELEASE_S)
                epoch = self._replication.epoch_of(session_id)
                self._replication.forget(session_id)
            await self._shared.leave(session_id, epoch)
            self._registry.handles.moves.remove(session_id)
            await asyncio.to_thread(self._registry.store.following.forget, session_id)

    async def _handed_over(self, session_id: str) -> None:
        """Raises: SessionBusy: it is used, or its kernel does not end."""
        try:
            await self._registry.handles.hand_over(session_id, RELEASED)
        except TimeoutError:
            raise SessionBusy(f"The kernel of session {session_id} has not ended in time.", "Try it again.") from None

    async def drain(self) -> None:
        """Take no session more, and release what is idle; what is not is released as it ends."""
        if self._drain is None:
            first = asyncio.Event()
            self._drain = asyncio.create_task(self._drained(first), name="drain of a node")
            self._first = first
        with suppress(TimeoutError):  # the store does not answer, or some kernel does not end
            async with asyncio.timeout(FIRST_S):
                await self._first.wait()

    async def _drained(self, first: asyncio.Event) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def released(session_id: str) -> None:
            async with room:
                await self._released(session_id)

        while held := self._replication.held:
            await asyncio.gather(*map(released, held))
            first.set()
            await asyncio.sleep(LOOK_S)
        first.set()

    async def _released(self, session_id: str) -> None:
        """Release a session if that can be done now."""
        try:
            await self.release(session_id)
        except SessionMoved:
            self._why.pop(session_id, None)  # it has gone in another way
        except RlmError as error:
            self._why[session_id] = error.message
            log.info("session %s stays for now: %s", session_id, error.message)
        else:
            self._why.pop(session_id, None)

    def watch(self, idle_timeout_s: float) -> None:
        """From now on, release what nobody has asked for in so long: it is in the store, and room is short here."""
        self._begin(self._watched(idle_timeout_s), "watch over sessions that nobody uses")

    async def _watched(self, idle_timeout_s: float) -> None:
        while True:
            await asyncio.sleep(IDLE_LOOK_S)
            for session_id in self._replication.unused(idle_timeout_s):
                if not self._registry.has(session_id):  # else its kernel goes first
                    await self._released(session_id)

    def end_soon(self, session_id: str) -> None:
        """Another node has taken a session over: end its kernel here, and forget it."""
        self._begin(self._ended(session_id), f"end of {session_id} here")

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ended(self, session_id: str) -> None:
        async with self._turn(session_id):
            if not self._replication.is_moved(session_id):
                return  # it has been adopted here again meanwhile
            try:
                work = self._registry.handles.moves.taken_over(session_id)
                await shielded(work, f"the end of {session_id} here", within_s=END_S)
            except TimeoutError:
                log.error("the kernel of session %s, which has moved, did not end", session_id)
            self._replication.forget(session_id)

    def _turn(self, session_id: str) -> asyncio.Lock:
        return self._turns.setdefault(session_id, asyncio.Lock())


def _unknown(session_id: str) -> SessionNotFound:
    return SessionNotFound(f"The cluster has no session {safe_text(session_id)}.")


def _parts_of(first: Frame, frames: AsyncIterator[Frame]) -> Iterator[tuple[str, bytes | None]]:
    """What the store has of a session, for a thread; one part is in memory at a time."""
    loop = asyncio.get_running_loop()

    def parts() -> Iterator[tuple[str, bytes | None]]:
        frame: Frame | None = first
        while frame is not None:
            if frame.kind == PART:
                yield frame.key, frame.body
            frame = _got(asyncio.run_coroutine_threadsafe(_next(frames), loop))

    return parts()


def _got(coming: Future[Frame | None]) -> Frame | None:
    """What has come. Raises: StoreUnavailable: it has not, for long."""
    try:
        return coming.result(FRAME_S)
    except TimeoutError:
        raise StoreUnavailable(f"The shared store did not give a part of a session within {FRAME_S:.0f} s.") from None


async def _next(frames: AsyncIterator[Frame]) -> Frame | None:
    """The next one; None at the end."""
    return await anext(frames, None)


def _manifests_of(reference: str) -> set[str]:
    """Those that a record's contexts are of; of a damaged record none, which its first use tells."""
    try:
        first = json.loads(reference)
        sources = [first, *(row["source"] for row in first.get("added", ()))]
        return {one["manifest"] for one in sources if isinstance(one.get("manifest"), str)}
    except (ValueError, TypeError, KeyError, AttributeError):
        return set()
