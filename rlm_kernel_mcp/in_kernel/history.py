"""The cells that were run in this kernel, by whichever client.

Is: a bounded list in memory, for a console's arrow keys and for the host, which looks for cells that it missed.
Is not: IPython's history, which is a file, nor a wall: a hostile kernel can answer anything.
Above: `kernel.py`. Below: nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final

CELLS_MAX: Final = 1_000
CODE_CHARS_MAX: Final = 200_000
HISTORY_CHARS_MAX: Final = 400_000
"""Of all cells together: the newest are kept, and one message holds them."""


class CellHistory:
    """What was run, newest last."""

    def __init__(self) -> None:
        self._cells: deque[tuple[str, int, str]] = deque()
        self._chars = 0

    def note(self, client: str, execution_count: int, code: str) -> None:
        """Add a cell; `client` is the session id of the one who sent it."""
        code = code[:CODE_CHARS_MAX]
        self._cells.append((client, execution_count, code))
        self._chars += len(code)
        while len(self._cells) > CELLS_MAX or self._chars > HISTORY_CHARS_MAX:
            self._chars -= len(self._cells.popleft()[2])

    def rows(self, asker: str) -> list[tuple[int, int, str]]:
        """(0 for the asker's own cells and 1 for those of others, execution count, code) of each."""
        return [(int(client != asker), execution_count, code) for client, execution_count, code in list(self._cells)]
