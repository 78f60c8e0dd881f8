"""How many sessions may have a kernel at a time, of each client and of all, and who gives way.

Is: RLM_MAX_SESSIONS. A session holds its slot from before its kernel starts until that kernel is stopped; a kernel
that is replaced keeps its slot. Is not: the number of sessions, which is not limited: those without a kernel come
back on use. Above: `session/registry.py`, `session_kernel.py`. Below: nothing.

A client may have as many slots as its own setting says. Where several clients share a process, all slots together have
a limit too, of which one client has three quarters at most, so that it cannot take the slots of all others
(docs/decisions/0117-what-clients-of-one-process-share.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from rlm_kernel_mcp.errors import SessionBusy

log = logging.getLogger(__name__)
PATIENCE_S: Final = 0.5
"""How long a session may take to give way before another one is asked as well."""
NEEDED: Final = "the server needed room for another session (RLM_MAX_SESSIONS)"
NEEDED_BY_OTHERS: Final = "the server needed room for a session of another client"


@dataclass(frozen=True, slots=True)
class SlotOwner:
    """For whom slots count: a client."""

    name: str
    limit: int
    """Of its slots."""


class SlotHolder(Protocol):
    """A session, as far as its slot is concerned."""

    session_id: str
    owner: SlotOwner | None
    """For whom its slot counts; None: for nobody that is named."""
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


@dataclass(frozen=True, slots=True)
class _Limit:
    count: int
    owner: SlotOwner | None
    """Whose slots it limits; None: all."""


class KernelSlots:
    """The slots of one process. Belongs to the event loop."""

    def __init__(self, limit: int, in_sum: int | None = None) -> None:
        """`limit`: of slots whose owner is not named. `in_sum`: of all slots together; None: there is none."""
        self._nobody = SlotOwner("", limit)
        self._in_sum = in_sum
        self._held: dict[str, SlotHolder | None] = {}
        self._owners: dict[str, SlotOwner] = {}
        """Of the slots that are waited for, and of those whose session is being opened."""
        self._waiting: list[str] = []
        """Sessions that wait for a slot, in the order in which they came."""
        self._giving_way: dict[str, asyncio.Task[bool]] = {}
        self._news = asyncio.Event()

    @property
    def is_busy(self) -> bool:
        """Whether a step runs, or a session is being opened or changed, be its client here or gone."""
        return any(holder is None or holder.running or holder.changing for holder in self._held.values())

    def check_free(self, session_id: str, owner: SlotOwner | None = None) -> None:
        """Raise at once what `acquire` would find: SessionBusy if a step runs in each session that could give way."""
        if session_id in self._held:
            return
        for limit in self._limits_of(owner or self._owner_of(session_id)):
            held = [self._held[one] for one in self._counted(limit, self._held)]
            if len(held) >= limit.count and all(holder is not None and holder.running for holder in held):
                raise _busy(limit)

    async def acquire(self, session_id: str, holder: SlotHolder | None = None, owner: SlotOwner | None = None) -> None:
        """Hold a slot from now on; call it again when a session that was being opened is there (`holder`).

        `owner`: for whom it counts; None: as the holder says.

        Raises:
            SessionBusy: every slot is held by a session that runs a step.
        """
        if session_id not in self._held:
            self._owners[session_id] = owner or (holder and holder.owner) or self._nobody
            self._waiting.append(session_id)
            try:
                # First come, first served.
                while lack := self._lack(session_id):
                    self.check_free(session_id)
                    await self._make_room(lack, self._owner_of(session_id))
                self._held[session_id] = holder
            finally:
                self._waiting.remove(session_id)
                if session_id not in self._held:
                    del self._owners[session_id]
                self.notify()  # those behind it in the queue have moved up
        elif holder is not None:
            self._held[session_id] = holder
            self.notify()

    def release(self, session_id: str) -> None:
        """Give the slot back; safe to call where none is held."""
        self._held.pop(session_id, None)
        self._owners.pop(session_id, None)
        self.notify()

    def notify(self) -> None:
        """A session may have become idle: let those who wait for a slot look again."""
        self._news.set()

    def _owner_of(self, session_id: str) -> SlotOwner:
        holder = self._held.get(session_id)
        return (holder and holder.owner) or self._owners.get(session_id, self._nobody)

    def _limits_of(self, owner: SlotOwner) -> list[_Limit]:
        if self._in_sum is None:
            return [_Limit(owner.limit, owner)]
        most = max(1, self._in_sum - max(1, self._in_sum // 4))
        return [_Limit(min(owner.limit, most), owner), _Limit(self._in_sum, None)]

    def _counted(self, limit: _Limit, sessions: Iterable[str]) -> list[str]:
        return [one for one in sessions if limit.owner is None or self._owner_of(one) == limit.owner]

    def _lack(self, session_id: str) -> _Limit | None:
        """The limit for which a waiting session has to go on waiting."""
        own, *in_sum = self._limits_of(self._owner_of(session_id))
        if self._lacks(own, session_id):
            return own
        ahead = self._waiting[: self._waiting.index(session_id)]
        return next((limit for limit in in_sum if len(self._held) + self._waiting_for_all(ahead) >= limit.count), None)

    def _lacks(self, own: _Limit, session_id: str) -> bool:
        ahead = self._waiting[: self._waiting.index(session_id)]
        return len(self._counted(own, [*self._held, *ahead])) >= own.count

    def _waiting_for_all(self, waiting: Iterable[str]) -> int:
        """How many wait for a slot of all: those that wait for one of their own client's take none of the others'."""
        return sum(not self._lacks(self._limits_of(self._owner_of(one))[0], one) for one in waiting)

    async def _make_room(self, lack: _Limit, owner: SlotOwner) -> None:
        """Have a session give way for each waiting one that finds no free slot, and wait until something has changed.

        One that is slow to give way, as hostile values can make it, holds up nobody: another is asked too.
        """
        # Before anyone is asked: the news of a session that gives way at once would be lost otherwise.
        self._news.clear()
        is_of_all = lack.owner is None
        waiting = self._waiting_for_all(self._waiting) if is_of_all else len(self._counted(lack, self._waiting))
        held = len(self._counted(lack, self._held))
        if len(self._counted(lack, self._giving_way)) < waiting + held - lack.count:
            self._ask_oldest(lack, owner)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._news.wait()
        except TimeoutError:
            self._ask_oldest(lack, owner)

    def _ask_oldest(self, lack: _Limit, owner: SlotOwner) -> None:
        """Stop the kernel of the session that has been idle longest, if any is idle and not just being stopped.

        One of the same client's, if there is one: others give way only to who has nothing to give.
        """
        found = (self._held[one] for one in self._counted(lack, self._held) if one not in self._giving_way)
        idle = [held for held in found if held is not None and not held.running and not held.changing]
        own = [held for held in idle if self._owner_of(held.session_id) == owner]
        if not idle:
            return
        oldest = min(own or idle, key=lambda held: held.used_at_s)
        log.info("stopping the kernel of %s to make room", oldest.session_id)
        stop = oldest.stop_kernel(NEEDED if lack.owner is not None else NEEDED_BY_OTHERS)
        task = self._giving_way[oldest.session_id] = asyncio.create_task(stop, name=f"{oldest.session_id} gives way")
        task.add_done_callback(lambda done: self._gave_way(oldest.session_id, done))

    def _gave_way(self, session_id: str, done: asyncio.Future[bool]) -> None:
        del self._giving_way[session_id]
        if not done.cancelled() and done.exception() is not None:
            log.error("the kernel of %s could not be stopped to make room", session_id, exc_info=done.exception())
        else:
            self.notify()


def _busy(limit: _Limit) -> SessionBusy:
    if limit.owner is None:
        return SessionBusy(
            f"All {limit.count} sessions that may have a kernel, of all clients together, are running a step.",
            "Wait for a step to end with rlm_await_step, or stop one with rlm_interrupt.",
        )
    holders = f"All {limit.count} sessions" if limit.count > 1 else "The one session"
    are = "are" if limit.count > 1 else "is"
    return SessionBusy(
        f"{holders} that may have a kernel {are} running a step; the limit is RLM_MAX_SESSIONS.",
        "Wait for a step to end with rlm_await_step, stop one with rlm_interrupt, or ask the user for a higher limit. "
        "If a step waits for this session's answer, answer its question with an error (rlm_answer).",
    )
