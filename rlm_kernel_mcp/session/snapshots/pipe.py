"""The pipe through which a kernel sends a large snapshot, read in a thread until its end, its deadline or a stop.

Is: the wait for bytes, and their way into the file. Is not: their decoding (`kernel/untrusted/snapshot_stream.py`), nor
the writing end, which the kernel alone has. Above: `taking.py`,
`session/kernels/long_text.py`. Below: `file.py`, the operating system.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Iterator
from typing import Final

from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken, decoded
from rlm_kernel_mcp.session.snapshots.file import Entry, SnapshotFile

READ_BYTES: Final = 1 << 18
POLL_MS: Final = 200
END_S: Final = 1.0
"""How much longer than the kernel's own time a stream may take."""


def receive(file: SnapshotFile, reader: int, step_ms: int, stop: threading.Event) -> dict[str, Entry]:
    """Append the values of a stream to a session's file, and close the reader; returns the names that came.

    `step_ms`: how long the kernel may take. `stop`: set by another thread when nobody waits any more.

    Raises:
        StreamBroken, OSError: nothing of the stream is kept.
    """
    try:
        deadline = time.monotonic() + step_ms / 1000 + END_S
        return file.append(decoded(blocks(reader, deadline, stop), file.stream_limits))
    finally:
        os.close(reader)


def blocks(reader: int, deadline: float, stop: threading.Event, silence_s: float = math.inf) -> Iterator[bytes]:
    """What comes through a pipe. `deadline`: by `time.monotonic`. `silence_s`: so long it may pause.

    Raises:
        StreamBroken: it does not end in time, or before the stop.
    """
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    silent_ms = 0  # counted, not by the clock: who was stopped meanwhile, as a whole machine is, first looks again
    while True:
        # Checked at each block, so that a pipe which always has another one ends too.
        if stop.is_set() or time.monotonic() > deadline:
            raise StreamBroken("the stream does not end")
        if poll.poll(POLL_MS):
            silent_ms = 0
            data = os.read(reader, READ_BYTES)
            if not data:
                return
            yield data
        elif (silent_ms := silent_ms + POLL_MS) > silence_s * 1000:
            raise StreamBroken(f"nothing more of it came for {silence_s:.0f} s")
