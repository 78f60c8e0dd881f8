"""Which frame of each key is the newest, where it lies, and how much of each segment that is.

Is: an account in memory of one log, made of its groups in their order. Is not: any reading. Above: `log.py`,
`scanning.py`. Below: `groups.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from rlm_kernel_mcp.cluster.shared.groups import Group, Spot

_WHOLE_BYTES: Final = 200
"""Roughly."""

Key = tuple[str, int]
"""A session and its epoch."""


@dataclass(slots=True)
class Frames:
    """What a log has of one epoch of a session."""

    spots: dict[str, Spot] = field(default_factory=dict)
    next_order: int = 0
    whole: dict[str, Any] | None = None
    """What this epoch says that it has taken over; None while it has not all of that."""
    whole_in: int = 0
    """In which segment it says so."""

    def in_order(self) -> list[Spot]:
        return sorted(self.spots.values(), key=lambda spot: spot.order)


class Index:
    """Of one log."""

    def __init__(self) -> None:
        self.frames: dict[Key, Frames] = {}
        self._live: Counter[int] = Counter()

    def add(self, group: Group) -> None:
        """The next group of the log."""
        for entry in group.entries:
            frames = self.frames.setdefault((entry.session_id, entry.epoch), Frames())
            if entry.whole is not None:
                if frames.whole is not None:
                    self._live[frames.whole_in] -= _WHOLE_BYTES
                frames.whole, frames.whole_in = entry.whole, group.segment
                self._live[group.segment] += _WHOLE_BYTES
            for spot in entry.spots:
                frames.next_order = max(frames.next_order, spot.order + 1)
                self._take_away(frames.spots.pop(spot.key, None))
                if spot.size >= 0:
                    frames.spots[spot.key] = spot
                    self._live[spot.segment] += _cost(spot)

    def drop(self, key: Key) -> None:
        """Nothing of it is of use any more."""
        frames = self.frames.pop(key, Frames())
        for spot in frames.spots.values():
            self._take_away(spot)
        if frames.whole is not None:
            self._live[frames.whole_in] -= _WHOLE_BYTES

    def live_bytes(self, segment: int | None = None) -> int:
        """How much of a segment, or of all, is of use."""
        return self._live.total() if segment is None else self._live[segment]

    def in_segment(self, segment: int) -> dict[Key, list[Spot]]:
        """What of a segment is of use; of some only that they are whole."""
        found = {}
        for key, frames in self.frames.items():
            spots = [spot for spot in frames.in_order() if spot.segment == segment]
            if spots or (frames.whole is not None and frames.whole_in == segment):
                found[key] = spots
        return found

    def _take_away(self, spot: Spot | None) -> None:
        if spot is not None:
            self._live[spot.segment] -= _cost(spot)


def _cost(spot: Spot) -> int:
    """Bytes of a frame, its row in the directory roughly counted in."""
    return spot.size + len(spot.key) + 40
