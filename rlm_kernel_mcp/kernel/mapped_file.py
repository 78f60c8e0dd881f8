"""A file that a kernel has mapped, as the host remembers it while that kernel lives.

Is: what became of the file, asked of its own descriptor: a name may mean another file by then. Is not: the mapping
(`in_kernel/namespace/mapped_text.py`). Above: `kernel.py`, `session/kernels/recovery.py`. Below: the operating system.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Final, Self

CRASHES: Final = (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
"""How a process ends under which a text has changed."""


@dataclass(slots=True)
class MappedFile:
    """One file. `close` gives the descriptor back; it is safe to call twice."""

    descriptor: int
    byte_count: int
    """So much of it is mapped."""
    state: tuple[int, int]
    """When it was written to last, as it was mapped."""

    @classmethod
    def of(cls, descriptor: int, byte_count: int) -> Self:
        """Remember a file that somebody else has open."""
        # A copy: the payload closes its own once the kernel has the file.
        return cls(os.dup(descriptor), byte_count, _state(os.fstat(descriptor)))

    def end_by(self, exit_code: int) -> str | None:
        """Why this file ended a process that had it mapped, or may have, if that is how it ended."""
        # Negative as seen by us, 128 and the signal as reported by a shell, a container engine or the monitor.
        if not {-exit_code, exit_code - 128}.intersection(CRASHES) or self.descriptor < 0:
            return None
        try:
            status = os.fstat(self.descriptor)
        except OSError as error:
            return f"the context's file cannot be read any more ({error.strerror})"
        if status.st_size < self.byte_count:
            return (
                f"the context's file was truncated to {status.st_size:,} bytes; it had {self.byte_count:,} when it was "
                "mapped"
            )
        # Python trusts a text: one that is all ASCII and has other bytes all at once leads it anywhere.
        is_same = _state(status) == self.state
        return None if is_same else "the context's file was written to while it was mapped, which can break its text"

    def close(self) -> None:
        """Let the file go."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_ctime_ns
