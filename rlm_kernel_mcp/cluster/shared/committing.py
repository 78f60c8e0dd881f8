"""One thread that makes durable, in one group, whatever of all sessions waits for it.

Is: the order of things: written, synced, the epoch looked at, acknowledged. Is not: the format (`groups.py`), or what a
caller is told in the end (`store.py`). Above: `claiming.py`, `store.py`. Below: `log.py`, `troubles.py`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.cluster.shared.groups import Entry, Placed, cost
from rlm_kernel_mcp.cluster.shared.index import Key
from rlm_kernel_mcp.cluster.shared.log import Log
from rlm_kernel_mcp.cluster.shared.places.medium import Claimed, Medium
from rlm_kernel_mcp.cluster.shared.protocol import FaultPoints, Frame
from rlm_kernel_mcp.cluster.shared.troubles import too_much_waits
from rlm_kernel_mcp.errors import SessionMoved, StoreDamaged, StoreUnavailable

GROUP_BYTES: Final = 16 << 20
WAITING_BYTES_MAX: Final = 512 << 20
CLOSE_S: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What an append waits for. Without frames, and not whole: a look at the epoch alone."""

    claim: Claimed
    frames: tuple[Placed | Frame, ...]
    """Frames that come from elsewhere keep their places in the order."""
    whole: dict[str, object] | None = None
    done: Future[None] = field(default_factory=Future)
    told: asyncio.Future[None] | None = None
    """The same for whoever waits in an event loop: all of a group hear of it at once. `done` is not used then."""

    @property
    def size(self) -> int:
        return sum(cost(one.frame if isinstance(one, Placed) else one) for one in self.frames)

    @property
    def writes(self) -> bool:
        return bool(self.frames) or self.whole is not None


class Committer:
    """Of one log. Its methods come from any thread."""

    def __init__(self, medium: Medium, log: Log, faults: FaultPoints) -> None:
        self._medium = medium
        self.log = log
        self._at = faults
        self._waiting = deque[Wanted]()
        self._calls = deque[Callable[[], object]]()
        self._left = deque[Key]()
        """Epochs that are over here. As long as there is a claim of one, somebody may have to take its frames over."""
        self._bytes = 0
        self._change = threading.Condition()
        self._is_closed = False
        self.is_sealed = False
        """Somebody took the log for one of a process that is gone: nothing goes in any more."""
        self._thread = threading.Thread(target=self._run, name="log of the shared store", daemon=True)
        self._thread.start()

    def commit(self, wanted: Wanted) -> Future[None]:
        """Done when it is durable and the epoch was its claim's after that.

        Raises in the future: SessionMoved; OSError; StoreUnavailable: too much waits.
        """
        refusal: StoreUnavailable | None = None
        with self._change:
            if self._is_closed:
                refusal = StoreUnavailable("The shared store is closed in this process.")
            elif self._waiting and self._bytes + wanted.size > WAITING_BYTES_MAX:
                refusal = too_much_waits("an append", self._bytes, WAITING_BYTES_MAX)
            else:
                self._waiting.append(wanted)
                self._bytes += wanted.size
                self._change.notify_all()
        if refusal is not None:
            _answer([(wanted, refusal)])
        return wanted.done

    def leave(self, key: Key) -> None:
        """Nothing more comes of an epoch; what is there is dropped once it has no claim."""
        with self._change:
            self._calls.append(lambda: self._left.append(key))
            self._change.notify_all()

    def end(self) -> None:
        """Take nothing more; the thread ends after what waits now."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()

    def close(self) -> bool:
        """As `end`; whether the thread has ended. One that the disk holds ends with the process."""
        self.end()
        self._thread.join(CLOSE_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._calls or self._is_closed)
                calls, self._calls = list(self._calls), deque()
                group = self._next_group()
                if not group and not calls and self._is_closed:
                    return
            for call in calls:
                call()
            if group:
                self._commit(group)

    def _next_group(self) -> list[Wanted]:
        """What waits, as much as one group takes, and one at least."""
        group, size = list[Wanted](), 0
        while self._waiting and (not group or size + self._waiting[0].size <= GROUP_BYTES):
            group.append(self._waiting.popleft())
            size += group[-1].size
        self._bytes -= size
        return group

    def _commit(self, group: Sequence[Wanted]) -> None:
        try:
            # Before it is written too: of an epoch that was over by then, no byte is ever in the log.
            group = self._acknowledged(group, final=False)
            self._at("before_write")
            if entries := self._entries(group):
                self.log.append(entries)
                self.is_sealed = self.is_sealed or self._medium.is_log_sealed(self.log.name)
        except Exception as error:  # noqa: BLE001  (whatever becomes of one group, the next one is written)
            _answer([(wanted, error) for wanted in group])
            return
        _answer([(wanted, None) for wanted in self._acknowledged(group, final=True)])
        self._clean()

    def _acknowledged(self, group: Sequence[Wanted], *, final: bool) -> list[Wanted]:
        """Those of a group whose epoch is still their claim's; the others are told why not."""
        looked, passed = dict[Key, BaseException | None](), list[Wanted]()
        refused = list[tuple[Wanted, BaseException | None]]()
        for wanted in group:
            key = (wanted.claim.session_id, wanted.claim.epoch)
            if key not in looked:
                looked[key] = self._look(wanted.claim, final=final)
            if (why := looked[key]) is None:
                passed.append(wanted)
            else:
                refused.append((wanted, why))
        _answer(refused)
        return passed

    def _entries(self, group: Sequence[Wanted]) -> list[Entry]:
        orders, entries = dict[Key, int](), []
        for wanted in filter(lambda one: one.writes, group):
            key = (wanted.claim.session_id, wanted.claim.epoch)
            order, placed = orders.get(key, self.log.next_orders(key)), []
            for one in wanted.frames:
                placed.append(one if isinstance(one, Placed) else Placed(one, order))
                order = max(order, placed[-1].order + 1)
            orders[key] = order
            entries.append(Entry(*key, tuple(placed), wanted.whole))
        return entries

    def _look(self, claim: Claimed, *, final: bool) -> BaseException | None:
        """Why nothing of an epoch is acknowledged."""
        try:
            if self.is_sealed:
                return StoreUnavailable(
                    "This process's log in the shared store was taken for one of a process that is gone.",
                    "Call again: the session is taken over with a new log.",
                )
            if not self._medium.is_own(claim):
                self._left.append((claim.session_id, claim.epoch))
                return SessionMoved(
                    f"Session {claim.session_id} was taken over by another node: epoch {claim.epoch} is over, and what "
                    "was done under it last is not acknowledged."
                )
            if final:
                self._at("epoch_checked")
        except OSError as error:
            return error
        return None

    def _clean(self) -> None:
        try:
            self._at("acknowledged")
            if self._left:
                if self._is_needed(key := self._left.popleft()):
                    self._left.append(key)
                else:
                    self.log.drop(key)
            self.log.clean(self._is_needed)
        except (OSError, StoreDamaged):
            return  # nobody waits for it; it is tried again after the next group

    def _is_needed(self, key: Key) -> bool:
        """Whether an epoch still has a claim, sealed or not: then somebody may have to take its frames over."""
        return any(claim.epoch == key[1] for claim in self._medium.claims(key[0]))


def _answer(ends: Sequence[tuple[Wanted, BaseException | None]]) -> None:
    """Tell those who wait; each event loop is woken once."""
    loops = dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], BaseException | None]]]()
    for wanted, error in ends:
        if wanted.told is not None:
            loops.setdefault(wanted.told.get_loop(), []).append((wanted.told, error))
        elif error is None:
            wanted.done.set_result(None)
        else:
            wanted.done.set_exception(error)
    for loop, told in loops.items():
        with suppress(RuntimeError):  # it ended meanwhile
            loop.call_soon_threadsafe(_tell, told)


def _tell(told: Sequence[tuple[asyncio.Future[None], BaseException | None]]) -> None:
    for one, error in told:
        if one.done():
            continue  # whoever waited has gone
        if error is None:
            one.set_result(None)
        else:
            one.set_exception(error)
