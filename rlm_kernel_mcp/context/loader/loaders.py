"""What a server has for loading large contexts: processes, its own files, and limits.

Is: data. Is not: how a process is started (`session/kernels/loaders.py`). Above: `context/by_loader.py`. Below:
`client.py`, `spool.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.context.loader.client import Process
from rlm_kernel_mcp.context.loader.spool import Spool

LOADERS_MAX: Final = 4
"""Processes that read at a time; others wait for their turn."""
GoOn = Callable[[], None]
"""Asked at least twice a second; raises where nobody waits any more."""


@dataclass(slots=True)
class Loaders:
    """What a server has for loading: processes, its own files, limits."""

    start: Callable[[int, int, GoOn], Process | None]
    """Starts one, with the largest file that it may write in MB and its processor time in s; None: there are none here.

    Called in a worker thread. Raises: KernelStartFailed, SandboxUnavailable."""
    spool: Spool
    unpacked_bytes: int
    """What all compressed files of a context may unpack to."""
    ratio: int
    """How many times its size a compressed file may unpack to."""
    turns: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(LOADERS_MAX))
