"""A file that a kernel has mapped, as the host remembers it while that kernel lives.

Is: what became of the file, asked of its own descriptor: a name may mean another file by then. Is not: the mapping
(`in_kernel/namespace/mapped_text.py`). Above: `kernel.py`, `session/kernels/recovery.py`. Below: the operating system.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Self


@dataclass(slots=True)
class MappedFile:
    """One file. `close` gives the descriptor back; it is safe to call twice."""

    descriptor: int
    byte_count: int
    """So much of it is mapped."""

    @classmethod
    def of(cls, descriptor: int, byte_count: int) -> Self:
        """Remember a file that somebody else has open."""
        return cls(os.dup(descriptor), byte_count)

    def end_by(self, exit_code: int) -> str | None:
        """Why this file ended a process that had it mapped, if that is how it ended."""
        if exit_code not in (-signal.SIGBUS, 128 + signal.SIGBUS) or self.descriptor < 0:
            return None
        try:
            left = os.fstat(self.descriptor).st_size
        except OSError as error:
            return f"the context's file cannot be read any more ({error.strerror})"
        if left >= self.byte_count:
            return None
        return f"the context's file was truncated to {left:,} bytes; it had {self.byte_count:,} when it was mapped"

    def close(self) -> None:
        """Let the file go."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
