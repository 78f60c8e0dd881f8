"""The cells that were run in this kernel, by whichever client.

Is: a bounded list in memory, for a console's arrow keys, a notebook's search and the host, which looks for cells that
it missed. Is not: IPython's history, which is a file, nor a wall: a hostile kernel can answer anything.
Above: `client_requests.py`, `in_kernel/ipython/kernel.py`. Below: nothing.
Source: Jupyter messaging 5.5, History; IPython's `HistoryAccessor`, which asks SQLite.
"""

from __future__ import annotations

import fnmatch
import re
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

CELLS_MAX: Final = 1_000
CODE_CHARS_MAX: Final = 200_000
RESULT_CHARS_MAX: Final = 20_000
"""Characters of a result; of a longer one nothing is kept, as if the cell had none."""
HISTORY_CHARS_MAX: Final = 400_000
"""Characters of all cells together: the newest are kept, and they fit one message."""
SESSION: Final = 1
"""Number of the only session; a request may also call it 0, the current one."""
TAIL: Final = 10
"""Cells of a tail that names no number, as in IPython."""

Row = tuple[int, int, Any]
"""(session, execution count, code, or the pair of code and result)."""


@dataclass(slots=True)
class Cell:
    """One cell that was run."""

    client: str
    """Session id of the client that sent it."""
    count: int
    code: str
    source: str
    """What the code was transformed to, `%time` for instance to a call."""
    result: str | None = None

    def chars(self) -> int:
        source = 0 if self.source is self.code else len(self.source)
        return len(self.code) + source + len(self.result or "")


class CellHistory:
    """What was run, newest last."""

    def __init__(self) -> None:
        self._cells: deque[Cell] = deque()
        self._chars = 0

    def note(self, client: str, execution_count: int, code: str) -> None:
        """Add a cell; `client` is the session id of the one who sent it."""
        code = code[:CODE_CHARS_MAX]
        self._cells.append(Cell(client, execution_count, code, code))
        self._make_room(len(code))

    def note_source(self, execution_count: int, source: str) -> None:
        """Note what the newest cell was transformed to."""
        if self._cells and (cell := self._cells[-1]).count == execution_count and source != cell.code:
            cell.source = source[:CODE_CHARS_MAX]
            self._make_room(len(cell.source))

    def note_result(self, execution_count: int, text: str) -> None:
        """Note what the newest cell's last expression showed."""
        if self._cells and (cell := self._cells[-1]).count == execution_count and len(text) <= RESULT_CHARS_MAX:
            self._chars -= len(cell.result or "")
            cell.result = text
            self._make_room(len(text))

    def of_others(self, asker: str) -> list[Row]:
        """(1, execution count, code) of each cell that another client than the asker ran."""
        return [(1, cell.count, cell.code) for cell in list(self._cells) if cell.client != asker]

    def rows(self, request: dict[str, Any], next_count: int) -> list[Row]:
        """What a `history_request` asks for, as IPython's own history would answer.

        Args:
            request: its content.
            next_count: number of the next cell, from which negative numbers count back.
        """
        shown = _Shown(bool(request.get("raw", True)), bool(request.get("output", False)))
        match request.get("hist_access_type"):
            case "tail":
                return shown.rows(_last(list(self._cells), _number(request.get("n"), TAIL)), SESSION)
            case "range":
                return self._range(request, next_count, shown)
            case "search":
                return self._search(request, shown)
        return []

    def _range(self, request: dict[str, Any], next_count: int, shown: _Shown) -> list[Row]:
        session = _number(request.get("session"), 0)
        if session not in (0, SESSION):
            return []
        start, stop = _number(request.get("start"), 0), _number(request.get("stop"), 0)
        start = start + next_count if start < 0 else start
        if not stop or stop > next_count:
            stop = next_count
        elif stop < 0:
            stop += next_count
        # The rows name the session as it was asked for, as the ecosystem's suite wants; ipykernel says 0 here.
        rows = shown.rows([cell for cell in list(self._cells) if start <= cell.count < stop], session, results=True)
        # IPython counts from 1 and has an empty line in the place before.
        return [(session, 0, ("", None) if shown.output else ""), *rows] if start <= 0 < stop else rows

    def _search(self, request: dict[str, Any], shown: _Shown) -> list[Row]:
        pattern = request.get("pattern")
        if not isinstance(pattern, str):
            return []
        matches = _glob(pattern)
        found = [cell for cell in list(self._cells) if matches(cell.code) is not None]
        if request.get("unique"):
            newest = {cell.code: cell for cell in found}
            found = [cell for cell in found if newest[cell.code] is cell]
        return shown.rows(_last(found, _number(request.get("n"), -1)), SESSION)

    def _make_room(self, added: int) -> None:
        self._chars += added
        while len(self._cells) > CELLS_MAX or self._chars > HISTORY_CHARS_MAX:
            self._chars -= self._cells.popleft().chars()


@dataclass(frozen=True, slots=True)
class _Shown:
    """What of each cell is shown."""

    raw: bool
    output: bool

    def rows(self, cells: list[Cell], session: int, *, results: bool = False) -> list[Row]:
        """IPython knows the `results` of its own session's range; it writes none into the file that it searches."""
        return [(session, cell.count, self._shown(cell, cell.result if results else None)) for cell in cells]

    def _shown(self, cell: Cell, result: str | None) -> Any:
        code = (cell.code if self.raw else cell.source).rstrip("\n")
        return (code, result) if self.output else code


def _number(value: object, missing: int) -> int:
    return value if type(value) is int else missing


def _last(cells: list[Cell], count: int) -> list[Cell]:
    """The last `count` of the cells; all of them if it is negative."""
    return list(islice(cells, max(len(cells) - count, 0), None)) if count >= 0 else cells


def _glob(pattern: str) -> Any:
    """A function that matches as SQLite's GLOB: the whole text, `*`, `?`, `[...]` and `[^...]`, case-sensitive."""
    return re.compile(fnmatch.translate(pattern.replace("[^", "[!"))).match
