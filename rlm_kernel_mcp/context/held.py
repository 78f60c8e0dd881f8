"""How a context is held: decoded into its kernel's memory, or mapped from a file.

Is: how much each of the two may take, and which files can be mapped. Is not: reading them (`reading.py`), or the text
in the kernel (`in_kernel/namespace/mapped_text.py`). Above: `payload.py`, the session. Below: `policy.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, Self

from rlm_kernel_mcp.errors import ContextTooLarge
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.units import MB

Held = Literal["memory", "mapped", "spooled"]
"""Where the text is: in the kernel's own memory; in the user's file, which the kernel has mapped read-only; or in a
file that the server wrote and the kernel has mapped, because the characters in the user's file are not as wide as
Python has them in memory."""
DECODED_SHARE: Final = 0.6
"""Share of a session's memory that the bytes of a context which is decoded into it may take."""
IN_MEMORY_SHARE: Final = 0.25
"""Share that a context which could be mapped instead may take."""
HASHED_LATER_BYTES: Final = 64 * MB
"""Larger sources are ready before their hash, which is computed afterwards; for others it takes about 50 ms."""
COPIED_MAX_BYTES: Final = 16 << 30
"""Most bytes of files that are concatenated in a temporary file."""
SESSION_MEMORY: Final = "a part of the session's memory (RLM_MEMORY_LIMIT_MB)"
WINDOW: Final = "which a session may have mapped (context.mapped_max_gb in the kernelspec's policy.json)"
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes a context may have."""

    decoded_bytes: int
    """If it is decoded into the session's memory."""
    in_memory_bytes: int = 0
    """Up to this size it is decoded even if it could be mapped: a text in memory does not change with its file."""
    mapped_bytes: int = 0
    """If it is mapped; 0 if nothing is."""
    others_bytes: int = 0
    """What the session's other contexts take of its memory."""

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """The room that a policy gives to each session."""
        memory_bytes = policy.limits.memory_mb * MB
        quarter = int(memory_bytes * IN_MEMORY_SHARE)
        return cls(
            decoded_bytes=int(memory_bytes * DECODED_SHARE),
            in_memory_bytes=min(policy.context.in_memory_mb * MB, quarter),
            mapped_bytes=policy.context.mapped_max_gb * 1024 * MB,
        )

    def beside(self, byte_count: int) -> Self:
        """The room that is left if other contexts take this many bytes of the session's memory."""
        decoded_bytes = max(0, self.decoded_bytes - byte_count)
        in_memory_bytes = min(self.in_memory_bytes, decoded_bytes)
        return replace(self, decoded_bytes=decoded_bytes, in_memory_bytes=in_memory_bytes, others_bytes=byte_count)

    @property
    def max_bytes(self) -> int:
        """The most that any context may have, whatever is in it."""
        return max(self.decoded_bytes, self.mapped_bytes)

    @property
    def memory(self) -> str:
        """What sets `decoded_bytes`, in words."""
        others = (
            f", of which the session's other contexts take {self.others_bytes:,} bytes" if self.others_bytes else ""
        )
        return SESSION_MEMORY + others

    @property
    def max_of(self) -> str:
        """What sets `max_bytes`, in words."""
        return self.memory if self.decoded_bytes >= self.mapped_bytes else WINDOW

    def held(self, byte_count: int, *, can_be_mapped: bool) -> Held:
        """How a context of this size is held."""
        return "mapped" if can_be_mapped and self.in_memory_bytes < byte_count <= self.mapped_bytes else "memory"

    def too_large(self, byte_count: int, why: str = "it is not all ASCII or all latin-1") -> ContextTooLarge:
        """The error for a context of at least this many bytes that has to be decoded. `why`: why it has to be."""
        return ContextTooLarge(
            f"The context has {byte_count:,} bytes or more, and has to be decoded to 1 to 4 bytes per character, since "
            f"{why}; the limit for that is {self.decoded_bytes:,} bytes, {self.memory}."
        )


def is_hashed_later(byte_count: int) -> bool:
    """Whether a context of this size may be reported before it has its hash."""
    return byte_count > HASHED_LATER_BYTES


def lies_in_memory(descriptor: int) -> bool:
    """Whether a file is on a file system in memory: its pages, once mapped and read, count as the kernel's memory."""
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().decode("ascii", "replace")
    except OSError:  # not Linux, or no /proc: since nothing is known, nothing is mapped
        return True
    rows = (row.split(" ") for row in mounts.splitlines())
    return any(row[2] == number and row[row.index("-") + 1] in _IN_MEMORY for row in rows)
