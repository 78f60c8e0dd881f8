"""What a server loads large contexts with: processes, its spool, and limits.

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
"""Most loaders that run at a time; others wait for their turn."""
CPU_S: Final = 120
CPU_BYTES_OF_S: Final = 10_000_000
"""The limit on a loader's processor time: `CPU_S`, and a second more for each `CPU_BYTES_OF_S` bytes."""
CancelCheck = Callable[[], None]
"""Called at least twice a second; raises once nobody is waiting any more."""


class Start(Protocol):
    """Starts a process; called in a worker thread."""

    def __call__(self, file_mb: int, cpu_s: int, check_cancelled: CancelCheck, value_mb: int = 0, /) -> Process | None:
        """Like `HostPlacement.loader`, with the same arguments. Raises: KernelStartFailed, SandboxUnavailable."""


@dataclass(slots=True)
class Loaders:
    """What a server loads with: processes, its spool, and limits."""

    start: Start
    """Starts a loader; returns None on a machine that has none."""
    spool: Spool
    unpacked_bytes: int
    """What all compressed files of a context may unpack to."""
    ratio: int
    """How many times its size a compressed file may unpack to."""
    value_mb: int = 1024
    """Memory that the value of a JSON text may take: no session has more."""
    turns: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(LOADERS_MAX))

    @contextmanager
    def process(
        self, byte_count: int, file_mb: int, check_cancelled: CancelCheck, value_mb: int = 0
    ) -> Iterator[Process | None]:
        """A loader for this many bytes, once it is the caller's turn; it ends with the block. None if there are none.

        `file_mb`: the largest file that it may write. `value_mb`: memory for the value of a JSON text.

        Raises: KernelStartFailed, SandboxUnavailable.
        """
        while not self.turns.acquire(timeout=LOOK_S):
            check_cancelled()
        try:
            process = self.start(file_mb, CPU_S + byte_count // CPU_BYTES_OF_S, check_cancelled, value_mb)
            try:
                yield process
            finally:
                if process is not None:
                    process.close()
        finally:
            self.turns.release()
