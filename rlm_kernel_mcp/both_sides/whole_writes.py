"""Writes a whole block at an offset of a file, where the operating system may take a part of it.

Is: the host's one loop around `pwrite`. Is not: a judgement of an error: each caller says what a full disk means
for it. Above: `context/reading.py`, `session/snapshots/file.py`. Below: the operating system.
"""

from __future__ import annotations

import os


def write_at(descriptor: int, block: bytes, offset: int) -> None:
    """Write all of `block` from `offset` on.

    Raises:
        OSError: the disk is full, or failed; a part of the block may have been written.
    """
    view = memoryview(block)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
