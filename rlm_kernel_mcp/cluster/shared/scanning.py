"""The log of another process, which is over or about to be: what it has of a session.

Is: one pass over heads and directories, without the bodies, once for all sessions of a log that does not grow any more.
Is not: a claim (`claiming.py`), before which this would show less than what is acknowledged. Above: `claiming.py`.
Below: `groups.py`, `index.py`, `places/medium.py`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from rlm_kernel_mcp.cluster.shared.groups import first_group, groups_of, mark_of
from rlm_kernel_mcp.cluster.shared.index import Index
from rlm_kernel_mcp.cluster.shared.places.medium import Medium
from rlm_kernel_mcp.errors import StoreDamaged

KEPT: Final = 4
"""Logs of which it is known what is in them."""
TRIES: Final = 8
"""A log whose process lives on grows and is cleaned while it is read: what does not fit together then is read again."""


class Scans:
    """Of one process: many sessions are taken over from the same log. From any thread."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        """So that a log is read once at a time; one that does not answer holds up no other."""
        self._kept = OrderedDict[str, tuple[dict[int, int], Index]]()

    def of(self, log: str) -> Index:
        """What a log has by now; it is not to be changed.

        Raises: as `scanned`.
        """
        with self._lock:
            turn = self._turns.setdefault(log, threading.Lock())
        with turn:
            segments = self._medium.segments(log)
            with self._lock:
                known = self._kept.get(log)
            if known is not None and known[0] == segments:  # nothing is ever written in place
                return known[1]
            segments, index, is_whole = scanned(self._medium, log)
            if is_whole:  # else it may become another one without a change of its size: a part of it was on its way
                with self._lock:
                    self._kept[log] = segments, index
                    self._kept.move_to_end(log)
                    while len(self._kept) > KEPT:
                        self._kept.popitem(last=False)
            return index


Scan = tuple[dict[int, int], Index, bool]
"""The segments of a log, what is in them, and whether that is all: no group at the end was cut off."""


def scanned(medium: Medium, log: str) -> Scan:
    """Raises: StoreDamaged: it is not what was written; OSError: it cannot be read, or is not there."""
    for _ in range(TRIES - 1):
        segments = medium.segments(log)
        try:
            return _scanned(medium, log, segments)
        except (FileNotFoundError, StoreDamaged):
            if medium.segments(log) == segments:
                raise
    return _scanned(medium, log, medium.segments(log))


def _scanned(medium: Medium, log: str, segments: dict[int, int]) -> Scan:
    index, mark = Index(), mark_of(log)
    counted = _counted(medium, mark, log, segments)
    last_group, is_whole = 0, True
    for segment, size in segments.items():
        end = 0
        with medium.reading(log, segment) as read:
            for group in groups_of(mark, segment, size, read, counted[segment]):
                if last_group and group.number != last_group + 1:
                    raise StoreDamaged(
                        f"The shared store is damaged: group {last_group:,} of a log is followed by {group.number:,}."
                    )
                last_group, end = group.number, group.end
                index.add(group)
        is_whole = is_whole and end == (size if counted[segment] is None else counted[segment])
    return segments, index, is_whole


def _counted(medium: Medium, mark: bytes, log: str, segments: dict[int, int]) -> dict[int, int | None]:
    """Up to which byte each segment counts, as the first group of a later one says; None: up to its end, maybe torn."""
    counted, is_last = dict[int, int | None](), True
    for segment, size in reversed(segments.items()):
        counted.setdefault(segment, None if is_last else 0)
        with medium.reading(log, segment) as read:
            first = first_group(mark, segment, size, read)
        if first is not None:
            is_last = False
            counted |= {earlier: end for earlier, end in first.ends.items() if earlier not in counted}
    return counted
