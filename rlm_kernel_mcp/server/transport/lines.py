"""What is read from a descriptor, line by line: each becomes a frame, whatever it holds and however long it is.

Is not: what a line means (`frames.py`), nor threads. Above: `stdio.py`. Below: `frames.py`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from rlm_kernel_mcp.server.transport.frames import Frame, read_frame, refuse_failed_line, refuse_long_line

log = logging.getLogger(__name__)

MAX_LINE_BYTES: Final = 256 * 1024 * 1024

READ_BYTES: Final = 1 << 16
"""As much as a pipe holds. A larger buffer would be mapped, and given back, for each line."""
LINE_START_BYTES: Final = 1 << 16
"""Of a line that is too long or cannot be read: where its request's id is looked for."""


def frames_of(descriptor: int) -> Iterator[Frame]:
    """Every frame that can be read from a descriptor, to its end; whatever a line raises, the next one is read."""
    line = bytearray()
    length = 0
    while chunk := _read(descriptor):
        # Only new bytes are searched for a line end: searching the whole line again would be quadratic.
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            length += len(end)
            if length <= MAX_LINE_BYTES:
                line += end
            frame = _frame(line, length)
            line, length = bytearray(), 0
            if frame:
                yield frame
            del frame  # nobody waits for the next line with this one in memory
        length += len(rest)
        # Of a line that is too long the start is enough: it is there to find the request's id.
        if length <= MAX_LINE_BYTES or not line:
            line += rest
        else:
            del line[LINE_START_BYTES:]
    if frame := _frame(line, length):
        yield frame


def _frame(line: bytearray, length: int) -> Frame | None:
    """The frame of a line. The line is used up: it may be as large as everything else together."""
    start = bytes(line[:LINE_START_BYTES])
    if length > MAX_LINE_BYTES:
        return refuse_long_line(start, MAX_LINE_BYTES)
    try:
        frame = read_frame(line)
    except Exception:
        log.exception("a line of %d bytes could not be read", length)
        frame = refuse_failed_line(start)
    return None if frame is None else replace(frame, size=length)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ_BYTES)
    except OSError as error:
        log.warning("stdin ended: %s", error.strerror)
        return b""
