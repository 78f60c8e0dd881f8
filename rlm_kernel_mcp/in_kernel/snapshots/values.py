"""Writes a value into a snapshot, as far as there is room for it.

Is: which pickler does it, and the refusal of what would be copied in vain. Is not: how a value is written
(`pickling.py`), nor the choice of values (`taking.py`). Above: `taking.py`. Below: `pickling.py`, `writer.py`.
"""

from __future__ import annotations

import pickle
from resource import RUSAGE_SELF, getrusage
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.snapshots.instance_reducers import Causes
from rlm_kernel_mcp.in_kernel.snapshots.pickling import PROTOCOL, SessionPickler, Writable, referred
from rlm_kernel_mcp.in_kernel.snapshots.writer import TooLarge

_PLAIN: Final = (str, bytes, int, float, complex, bool, type(None))
"""Types for which pickle's own writer, a hundred times faster to make, does the same."""
_SIZED: Final = (str, bytes, bytearray)
"""What pickle copies in one piece, in which nothing can stop it: a second and more for a gigabyte."""
WATCHED_FROM_KB: Final = 256 << 10
"""A process that never had so much memory has nothing that would take long."""


class WatchingPickler(SessionPickler):
    """One that looks at every object: a mapped context stays where it is, what has no room is refused uncopied."""

    def __init__(self, file: Writable, protocol: int, causes: Causes, limit_bytes: int) -> None:
        super().__init__(file, protocol, causes)
        self._limit_bytes = limit_bytes

    def persistent_id(self, obj: Any) -> str | None:
        """pickle's hook for what is written elsewhere."""
        name = referred().get(id(obj))
        if name is None:
            _check_size(obj, self._limit_bytes)
        return name


def write_value(value: object, file: Writable, causes: Causes, limit_bytes: int) -> None:
    """Pickle a value into a file. `causes` says whether with the errors that its exceptions came from.

    Raises:
        TooLarge: it has a text or bytes that are more than `limit_bytes` by themselves.
        Exception: whatever the value's own code, or pickle, raises; and what `file.write` raises.
    """
    if type(value) in _PLAIN:
        _check_size(value, limit_bytes)
        pickle.dump(value, file, PROTOCOL)
    elif referred() or getrusage(RUSAGE_SELF).ru_maxrss > WATCHED_FROM_KB:
        WatchingPickler(file, PROTOCOL, causes, limit_bytes).dump(value)
    else:
        SessionPickler(file, PROTOCOL, causes).dump(value)


def _check_size(value: object, limit_bytes: int) -> None:
    """A character has a byte at least."""
    if type(value) in _SIZED and len(value) > limit_bytes:  # type: ignore[arg-type]  # it is one of these
        raise TooLarge
