"""Lines, of what comes in pieces: each becomes a frame, whatever it holds and however long it is.

Is not: what a line means (`frames.py`), nor where the pieces come from (`reader.py`). Above: `reader.py`.
Below: `frames.py`, `text/json_items.py`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Final

from rlm_kernel_mcp.server.transport.frames import (
    Frame,
    read_frame,
    refuse_crowded_line,
    refuse_failed_line,
    refuse_long_line,
)
from rlm_kernel_mcp.text.json_items import is_crowded

log = logging.getLogger(__name__)

MAX_LINE_BYTES: Final = 256 * 1024 * 1024
ITEMS_MAX: Final = 300_000
"""Commas and brackets of a line, outside of its texts. A line of lists takes a second for each megabyte, in which none
of its server's clients is served, whichever thread reads it; no call of ours has so many."""

LINE_START_BYTES: Final = 1 << 16
"""Of a line that is too long or cannot be read: where its request's id is looked for."""


@dataclass(slots=True)
class Line:
    """One line, or what has come of it. Of one that is too long only the start is kept."""

    text: bytearray
    length: int = 0

    def add(self, piece: bytes) -> None:
        """Take what came next."""
        self.length += len(piece)
        # Of a line that is too long the start is enough: it is there to find the request's id.
        if self.length <= MAX_LINE_BYTES or not self.text:
            self.text += piece
        else:
            del self.text[LINE_START_BYTES:]


class Lines:
    """Pieces in, lines out; without any wait."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        """Bytes of the input up to the end of the last line that was taken."""
        self._piece = b""
        self._at = 0
        self._line = Line(bytearray())

    def feed(self, piece: bytes) -> None:
        """Take the next piece, once `next` has nothing more of the last one."""
        self._piece, self._at = piece, 0

    def next(self) -> Line | None:
        """The next whole line; None where the rest of it has not come."""
        # Only new bytes are searched for a line end: searching the whole line again would be quadratic.
        end = self._piece.find(b"\n", self._at)
        self._line.add(self._piece[self._at : end if end >= 0 else None])
        if end < 0:
            self._piece, self._at = b"", 0
            return None
        self._at = end + 1
        return self.rest()

    def rest(self) -> Line:
        """What has come of the line that did not end."""
        line, self._line = self._line, Line(bytearray())
        self.position += line.length + 1
        return line

    @property
    def ahead(self) -> int:
        """Bytes that have come behind the last line that was taken."""
        return len(self._piece) - self._at


def frame_of(line: Line) -> Frame | None:
    """The frame of a line. The line is used up: it may be as large as everything else together."""
    start = bytes(line.text[:LINE_START_BYTES])
    if line.length > MAX_LINE_BYTES:
        return refuse_long_line(start, MAX_LINE_BYTES)
    try:
        is_read = not is_crowded(line.text, ITEMS_MAX)
        frame = read_frame(line.text) if is_read else refuse_crowded_line(line.text, start, ITEMS_MAX)
    except Exception:
        log.exception("a line of %d bytes could not be read", line.length)
        frame = refuse_failed_line(start)
    return None if frame is None else replace(frame, size=line.length)
