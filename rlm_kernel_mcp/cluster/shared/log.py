"""The log of this process: groups are appended to it, and what is of no use any more is cleaned out of it.

Is: segments and their ends, and what becomes of one that the disk failed. Is not: who waits for a group
(`committing.py`), or whose epoch is over (`store.py`). It belongs to one thread at a time, but for `whereabouts` and
`Index`' numbers. Above: `committing.py`. Below: `groups.py`, `index.py`, `places/medium.py`.

Only the oldest segment is cleaned. So whatever a frame has replaced, or a removal removed, is gone before that frame or
removal is: the place in the log alone says which frame of a key is the newest.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Final

from rlm_kernel_mcp.cluster.shared.groups import Entry, Placed, Spot, cost, mark_of, packed, sound
from rlm_kernel_mcp.cluster.shared.index import Frames, Index, Key
from rlm_kernel_mcp.cluster.shared.places.medium import Medium
from rlm_kernel_mcp.cluster.shared.protocol import FaultPoints, Frame

SLACK_BYTES: Final = 16 << 20
"""So much may be dead before anything is cleaned."""
CLEANED_AT_ONCE: Final = 4
"""Segments after one group: those who wait for the next one wait for this too."""


class Log:
    def __init__(self, medium: Medium, faults: FaultPoints) -> None:
        """Raises: OSError: its first file cannot be made."""
        self.name = secrets.token_hex(16)
        self._medium = medium
        self._at = faults
        self._mark = mark_of(self.name)
        self._lock = threading.Lock()
        self.index = Index()
        self._segments: dict[int, int] = {}
        """Number and bytes of each that is there, by their numbers."""
        self._last = 0
        self._is_open = False
        """Whether the last one is still appended to."""
        self._ends: dict[int, int] = {}
        """Up to which byte segments count that no later one has spoken of yet."""
        self._group = 0
        medium.make_log(self.name)

    @property
    def size(self) -> int:
        return sum(self._segments.values())

    def append(self, entries: Sequence[Entry]) -> None:
        """Durably, all of it. Raises: OSError: nothing of it counts."""
        if not self._is_open:
            self._last, size = self._last + 1, 0
        else:
            size = self._segments[self._last]
        told = {} if size else dict(self._ends)
        parts, group = packed(self._mark, self._group + 1, told, entries, self._last, size)
        self._ends[self._last] = size  # should it fail
        try:
            end = self._medium.append(self.name, self._last, size, parts)
        except BaseException:
            self._is_open = False
            self._medium.abandon(self.name, self._last, size)
            raise
        self._group += 1
        self._ends = {self._last: end}
        self._is_open = end < self._medium.segment_bytes
        with self._lock:
            self._segments[self._last] = end
            self.index.add(group)

    def next_orders(self, key: Key) -> int:
        """The place that the next frame of an epoch has."""
        return self.index.frames.get(key, Frames()).next_order

    def whereabouts(self, key: Key) -> list[Spot]:
        """Of each frame of an epoch, in their order; from any thread."""
        with self._lock:
            return self.index.frames.get(key, Frames()).in_order()

    def body(self, key: Key, spot: Spot) -> bytes | None:
        """What lies there, or where it was moved meanwhile; None: it was replaced. From any thread."""
        while True:
            try:
                with self._medium.reading(self.name, spot.segment) as read:
                    return sound(spot, read(spot.offset, spot.size))
            except FileNotFoundError:
                with self._lock:
                    now = self.index.frames.get(key, Frames()).spots.get(spot.key)
                if now is None or now.order != spot.order:
                    return None
                if now == spot:
                    raise
                spot = now

    def drop(self, key: Key) -> None:
        """An epoch is over: its frames are of no use any more."""
        with self._lock:
            self.index.drop(key)

    def clean(self, is_needed: Callable[[Key], bool]) -> None:
        """Remove what is dead, where there is much of it. Raises: OSError: later, then."""
        for _ in range(CLEANED_AT_ONCE):
            oldest = next(iter(self._segments), self._last)
            if oldest == self._last:
                return
            live = self.index.live_bytes()
            is_due = self.size - live > max(live, SLACK_BYTES) or len(self._segments) > self._medium.segments_max
            if self.index.live_bytes(oldest) > 0:
                if not is_due:
                    return
                self._carry_on(oldest, is_needed)
            self._at("clean_copied")
            self._medium.drop_segment(self.name, oldest)
            with self._lock:
                del self._segments[oldest]
            self._at("clean_dropped")

    def _carry_on(self, segment: int, is_needed: Callable[[Key], bool]) -> None:
        """Append again what of a segment is of use."""
        with self._lock:
            found = self.index.in_segment(segment)
        for key, spots in found.items():
            if not is_needed(key):
                self.drop(key)
                continue
            taken, size = list[Placed](), 0
            with self._medium.reading(self.name, segment) as read:
                for spot in spots:
                    body = sound(spot, read(spot.offset, spot.size))
                    taken.append(Placed(Frame(spot.kind, spot.key, body), spot.order))
                    size += cost(taken[-1].frame)
                    if size > self._medium.segment_bytes:
                        self.append([Entry(*key, tuple(taken))])
                        taken, size = [], 0
            self.append([Entry(*key, tuple(taken), self.index.frames[key].whole)])
