"""Two lines below a session that is followed at a terminal: how it stands, and how near its limits it is.

Is: what comes and goes: all else is printed once, as it is for a pipe, so that what was scrolled past stays true. Is
not: where it is drawn (`showing/terminal.py`), nor what is printed (`text_view.py`). Above: `follow.py`. Below:
`showing/`, `watching/record/news.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from rlm_kernel_mcp.commands.showing.heading import LIMITS
from rlm_kernel_mcp.commands.showing.session_rows import state_of
from rlm_kernel_mcp.commands.showing.terminal import Paint, Part, unpainted
from rlm_kernel_mcp.commands.showing.words import Marks, bar, lasted
from rlm_kernel_mcp.session.listing import limits_of, used_of
from rlm_kernel_mcp.store.store import SessionRecord
from rlm_kernel_mcp.watching.record.news import Record

SECOND_MS: Final = 1_000


class Lines(Protocol):
    """Where they are drawn."""

    @property
    def width(self) -> int:
        """Columns that a line may have."""

    def draw(self, lines: Sequence[Sequence[Part]]) -> None:
        """Have these there."""

    def clear(self) -> None:
        """Have none there."""


class Footer:
    """They go before anything is printed, and come back when there is nothing to print for now.

    A line that has not ended is shown above them, and printed once it has.
    """

    def __init__(
        self,
        lines: Lines,
        write: Callable[[str], None],
        drawn: Marks,
        is_driven: Callable[[SessionRecord], bool],
        now_s: Callable[[], float] = time.monotonic,
        paint: Paint = unpainted,
    ) -> None:
        """`write`: prints. `is_driven`: whether a server has the session. `paint`: for what is printed above."""
        self.paint = paint
        self._lines, self._write, self._drawn, self._is_driven, self._now_s = lines, write, drawn, is_driven, now_s
        self._open: list[str] = []
        """The pieces of a line that has not ended."""
        self._row: int | None = None
        """That of the step that runs."""
        self._since_s = 0.0

    def write(self, text: str) -> None:
        """Print what is a whole line by now."""
        ended, newline, rest = text.rpartition("\n")
        if newline:
            self._lines.clear()
            self._write("".join((*self._open, ended, newline)))
            self._open.clear()
        if rest:
            self._open.append(rest)

    def begins(self, row_id: int | None, elapsed_ms: int) -> None:
        """A step runs, and has for so long."""
        if row_id != self._row:
            self._row, self._since_s = row_id, self._now_s() - elapsed_ms / SECOND_MS

    def draw(self, record: Record) -> None:
        """Have them there, by the record as it was at the last look."""
        at_work = record.at_work
        if at_work is not None:
            self.begins(at_work.row_id, at_work.ms)
        if self._row is not None and record.has_shown(self._row):
            self._row = None
        lines = self._of(record.session, 0 if at_work is None else at_work.waits)
        if self._open:
            lines.insert(0, [("".join(self._open)[-self._lines.width :], "plain")])
        self._lines.draw(lines)

    def clear(self) -> None:
        """Have them away for what another stream says; they come back."""
        self._lines.clear()

    def close(self) -> None:
        """Have them away for good, and print what there is of a line."""
        self._lines.clear()
        if self._open:
            self._write("".join(self._open))
            self._open.clear()

    def _of(self, session: SessionRecord | None, waits: int) -> list[list[Part]]:
        if session is None:
            return [[("The record of the session cannot be read.", "bad")]]
        stands = [state_of(session, driven=self._is_driven(session), waits=waits)]
        if self._row is not None:
            since_s = max(int(self._now_s() - self._since_s), 0)
            stands.append(f"{since_s} s" if since_s < 60 else lasted(since_s * SECOND_MS))
        dot = self._drawn.dot
        return [[(dot.join(stands), "answer")], [(dot.join([session.session_id, *self._shares(session)]), "dim")]]

    def _shares(self, session: SessionRecord) -> Iterator[str]:
        """How much of each limit is used."""
        used, most = used_of(session), limits_of(session)
        for counter, divisor, unit in LIMITS:
            if counter in most:
                drawn = bar(used[counter], most[counter], self._drawn)
                yield f"{used[counter] // divisor:,}/{most[counter] // divisor:,} {unit} {drawn}"
