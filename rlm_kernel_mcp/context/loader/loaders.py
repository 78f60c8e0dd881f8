"""What a server has for loading large contexts: processes, its own files, and limits.

Is: data. Is not: how a process is started (`session/kernels/loaders.py`). Above: `context/by_loader.py`. Below:
`client.py`, `spool.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from rlm_kernel_mcp.context.loader.client import LOOK_S, Process
from rlm_kernel_mcp.context.loader.spool import Spool

LOADERS_MAX: Final = 4
"""Processes that read at a time; others wait for their turn."""
CPU_S: Final = 120
CPU_BYTES_OF_S: Final = 10_000_000
"""A loader's processor time: so much, and a second more for each so many bytes."""
GoOn = Callable[[], None]
"""Asked at least twice a second; raises where nobody waits any more."""


class Start(Protocol):
    """Starts a process; called in a worker thread."""

    def __call__(self, file_mb: int, cpu_s: int, go_on: GoOn, value_mb: int = 0, /) -> Process | None:
        """As `HostPlacement.loader`, which has the arguments. Raises: KernelStartFailed, SandboxUnavailable."""


@dataclass(slots=True)
class Loaders:
    """What a server has for loading: processes, its own files, limits."""

    start: Start
    """Starts one; None: there are none here."""
    spool: Spool
    unpacked_bytes: int
    """What all compressed files of a context may unpack to."""
    ratio: int
    """How many times its size a compressed file may unpack to."""
    value_mb: int = 1024
    """Memory that the value of a JSON text may take: no session has more."""
    turns: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(LOADERS_MAX))

    @contextmanager
    def process(self, byte_count: int, file_mb: int, go_on: GoOn, value_mb: int = 0) -> Iterator[Process | None]:
        """A process for so many bytes, once it is the caller's turn; None: there are none here. It ends with the block.

        `file_mb`: the largest file that it may write. `value_mb`: memory for the value of a JSON text.

        Raises: KernelStartFailed, SandboxUnavailable.
        """
        while not self.turns.acquire(timeout=LOOK_S):
            go_on()
        try:
            process = self.start(file_mb, CPU_S + byte_count // CPU_BYTES_OF_S, go_on, value_mb)
            try:
                yield process
            finally:
                if process is not None:
                    process.close()
        finally:
            self.turns.release()
