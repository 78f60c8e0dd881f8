"""The log of another process, which is over or about to be: what it has of a session.

Is: one pass over heads and directories, without the bodies. Is not: a claim (`claiming.py`), before which this would
show less than what is acknowledged. Above: `claiming.py`. Below: `groups.py`, `index.py`, `places/medium.py`.
"""

from __future__ import annotations

from typing import Final

from rlm_kernel_mcp.cluster.shared.groups import first_group, groups_of, mark_of
from rlm_kernel_mcp.cluster.shared.index import Index
from rlm_kernel_mcp.cluster.shared.places.medium import Medium
from rlm_kernel_mcp.errors import StoreDamaged

TRIES: Final = 8
"""A log whose process lives on grows and is cleaned while it is read: what does not fit together then is read again."""


def scanned(medium: Medium, log: str) -> Index:
    """What a log has by now.

    Raises:
        StoreDamaged: it is not what was written; OSError: it cannot be read, or is not there.
    """
    for _ in range(TRIES - 1):
        segments = medium.segments(log)
        try:
            return _scanned(medium, log, segments)
        except (FileNotFoundError, StoreDamaged):
            if medium.segments(log) == segments:
                raise
    return _scanned(medium, log, medium.segments(log))


def _scanned(medium: Medium, log: str, segments: dict[int, int]) -> Index:
    index, mark = Index(), mark_of(log)
    counted = _counted(medium, mark, log, segments)
    last_group = 0
    for segment, size in segments.items():
        with medium.reading(log, segment) as read:
            for group in groups_of(mark, segment, size, read, counted[segment]):
                if last_group and group.number != last_group + 1:
                    raise StoreDamaged(
                        f"The shared store is damaged: group {last_group:,} of a log is followed by {group.number:,}."
                    )
                last_group = group.number
                index.add(group)
    return index


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
