"""Whether the files of a context have changed on disk since they were read.

Is: what the file system says of them (size, times, which file it is), a bounded number of them at a time. Is not: their
bytes, nor the contexts (`contexts.py`). Blocking, so it belongs into a worker thread. Above: `source.py`,
`contexts.py`. Below: the standard library.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

AT_A_TIME: Final = 100
"""Files that one look asks for: a step is as fast over many as over one. Of more, each look has others, in turn."""
MARKS_MAX: Final = 20_000
"""Files of a context that are looked after; of a larger one the first ones."""


@dataclass(slots=True)
class FileMarks:
    """The files of one context, as they were before they were read."""

    paths: list[str]
    states: list[tuple[int, ...] | None]
    has_changed: bool = False
    """Seen once, it stays."""
    _next: int = 0

    @classmethod
    def of(cls, paths: Iterable[str]) -> Self:
        """As they are now."""
        found = [path for path, _ in zip(paths, range(MARKS_MAX), strict=False)]
        return cls(found, [_state(path) for path in found])

    @property
    def wanted(self) -> bool:
        """Whether a look can find anything."""
        return bool(self.paths)

    def look(self) -> bool:
        """Ask for the next ones; whether any has changed by now."""
        if self.has_changed or not self.paths:
            return self.has_changed
        for place in range(self._next, min(self._next + AT_A_TIME, len(self.paths))):
            if _state(self.paths[place]) != self.states[place]:
                self.has_changed = True
                self.paths, self.states = [], []
                return True
        self._next = self._next + AT_A_TIME if self._next + AT_A_TIME < len(self.paths) else 0
        return False


def _state(path: str) -> tuple[int, ...] | None:
    """What changes when a file is written to or replaced; None if it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 (strings: one call a file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
