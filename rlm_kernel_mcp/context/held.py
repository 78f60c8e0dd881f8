"""How a context is held: decoded into its kernel's memory, or mapped where its characters lie.

Is: what each of the two has room for, and which files can be mapped. Is not: reading them (`payload.py`), nor the text
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
"""Where the text is: the kernel's own memory, a file that the kernel has mapped to be read, or one that the server
wrote for that, since the characters of the first are not as wide in it as in memory."""
DECODED_SHARE: Final = 0.6
"""Share of a session's memory that the bytes of a context may take which is decoded into it."""
IN_MEMORY_SHARE: Final = 0.25
"""Share that a context may take that could be mapped as well."""
COPIED_MAX_BYTES: Final = 16 << 30
"""Of files that are laid together in a temporary file."""
SESSION_MEMORY: Final = "a part of the session's memory (RLM_MEMORY_LIMIT_MB)"
WINDOW: Final = "which a session may have mapped (context.mapped_max_gb in the kernelspec's policy.json)"
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes a context may have."""

    decoded_bytes: int
    """Where it is decoded into the session's memory."""
    in_memory_bytes: int = 0
    """Up to this many it is, even if it could be mapped: a text in memory does not change with its file."""
    mapped_bytes: int = 0
    """Where it is mapped; 0: none is."""
    others_bytes: int = 0
    """What the session's other contexts have in memory."""

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
        """What is left of it beside contexts that have this many bytes in memory."""
        decoded_bytes = max(0, self.decoded_bytes - byte_count)
        in_memory_bytes = min(self.in_memory_bytes, decoded_bytes)
        return replace(self, decoded_bytes=decoded_bytes, in_memory_bytes=in_memory_bytes, others_bytes=byte_count)

    @property
    def max_bytes(self) -> int:
        """No context has more, whatever is in it."""
        return max(self.decoded_bytes, self.mapped_bytes)

    @property
    def memory(self) -> str:
        """What `decoded_bytes` are, in words."""
        others = (
            f", of which the session's other contexts have {self.others_bytes:,} bytes" if self.others_bytes else ""
        )
        return SESSION_MEMORY + others

    @property
    def max_of(self) -> str:
        """What `max_bytes` are, in words."""
        return self.memory if self.decoded_bytes >= self.mapped_bytes else WINDOW

    def held(self, byte_count: int, *, can_be_mapped: bool) -> Held:
        """How a context of this size is held."""
        return "mapped" if can_be_mapped and self.in_memory_bytes < byte_count <= self.mapped_bytes else "memory"

    def too_large(self, byte_count: int, why: str = "it is not all ASCII or all latin-1") -> ContextTooLarge:
        """The error for a context that has this many bytes or more and has to be decoded; `why` it has to."""
        return ContextTooLarge(
            f"The context has {byte_count:,} bytes or more, and has to be decoded into 1 to 4 bytes a character, since "
            f"{why}; the limit for that is {self.decoded_bytes:,} bytes, {self.memory}."
        )


def lies_in_memory(descriptor: int) -> bool:
    """Whether a file's file system is memory: then its pages, once mapped and read, are the kernel's memory too."""
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().decode("ascii", "replace")
    except OSError:  # no Linux, or no /proc: nothing is known, and nothing is mapped
        return True
    rows = (row.split(" ") for row in mounts.splitlines())
    return any(row[2] == number and row[row.index("-") + 1] in _IN_MEMORY for row in rows)
