"""Reads contexts in threads, out of the way of everything else.

Is: a bounded pool of threads for what may take minutes (files), and the end of a reading that nobody waits for any
more. Is not: what is read (`opening.py`, `context/`). Above: `opening.py`, `reopening.py`. Below: `shielded.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.shielded import made_in_thread

LOADS_MAX: Final = 4
"""Contexts of files that are read at a time; the others wait for their turn, and keep nobody else from theirs."""

GoOn = Callable[[], None]
"""Asked by a reader at each entry and block; raises where nobody waits for the context any more."""
_files = ThreadPoolExecutor(LOADS_MAX, thread_name_prefix="context")


class NobodyWaits(Exception):
    """Ends a reading; nobody is told."""


async def read_in_thread(read: Callable[[GoOn], Payload], *, files: bool) -> Payload:
    """The payload that `read` makes; where the wait is cancelled the reading ends soon and leaves nothing.

    `files`: whether it reads files, of which there may be very many; an inline text is a short work.

    Raises:
        What `read` raises.
    """
    ended = threading.Event()

    def go_on() -> None:
        if ended.is_set():
            raise NobodyWaits

    try:
        return await made_in_thread(lambda: read(go_on), Payload.close, _files if files else None)
    finally:
        ended.set()
