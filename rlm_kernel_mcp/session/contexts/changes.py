"""Whether the files of a context have changed on disk since they were read.

Is: what the file system says of them (size, times, which file it is), a bounded number of them at a time. Is not: their
bytes, nor the contexts (`contexts.py`). Blocking, so it belongs into a worker thread. Above: `source.py`,
`contexts.py`. Below: `context/documents.py`, `context/roots/identity.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.roots.identity import FileIdentity, identity_of

AT_A_TIME: Final = 100
"""Files that one look asks for: a step is as fast over many as over one. Of more, each look has others, in turn."""
MARKS_MAX: Final = 20_000
"""Files of a context that are looked after; of a larger one the first ones."""


@dataclass(slots=True)
class FileMarks:
    """The files of one context, as they were when they were opened to be read."""

    paths: list[str]
    states: list[FileIdentity]
    has_changed: bool = False
    """Seen once, it stays."""
    _next: int = 0

    @classmethod
    def of(cls, documents: Iterable[Document]) -> Self:
        """The files of these documents."""
        files = ((one.path, one.identity) for one in documents if one.path is not None and one.identity is not None)
        found = list(islice(files, MARKS_MAX))
        return cls([path for path, _ in found], [state for _, state in found])

    @property
    def wanted(self) -> bool:
        """Whether a look can find anything."""
        return bool(self.paths) and not self.has_changed

    def look(self) -> bool:
        """Ask for the next ones; whether any has changed by now."""
        if self.has_changed or not self.paths:
            return self.has_changed
        for place in range(self._next, min(self._next + AT_A_TIME, len(self.paths))):
            if _state(self.paths[place]) != self.states[place]:
                self.has_changed = True
                return True
        self._next = self._next + AT_A_TIME if self._next + AT_A_TIME < len(self.paths) else 0
        return False


def _state(path: str) -> FileIdentity | None:
    """What changes when a file is written to or replaced; None if it is not there."""
    try:
        return identity_of(os.stat(path))  # noqa: PTH116 (strings: one call a file)
    except OSError:
        return None
