"""Resource limits of a kernel: descriptors, file size, threads, core files, address space. A wall.

Is: `setrlimit` on this process. Is not: processor time, which the host moves step by step with prlimit(2), nor
the watch over resident memory, which is the host's. Above: `raising.py`, the shell (`soft_memory`).
Below: the standard library, `linux.py`.
"""

from __future__ import annotations

import os
import resource
from typing import Final

from rlm_kernel_mcp.in_kernel.walls import linux
from rlm_kernel_mcp.in_kernel.walls.plan import WallPlan

MB: Final = 1 << 20
MEMORY_GAP_MB: Final = 128
"""Between the soft limit, in force while a step runs, and the hard one: room to report the MemoryError."""
PENDING_SIGNALS: Final = 1024
STACK_MB: Final = 8
M_ARENA_MAX: Final = -8
"""glibc's mallopt(3) option: each arena of a thread reserves 64 MB of address space."""
LIMIT_LOWERED: Final = 71
"""Exit status of a kernel whose code lowered its hard limit of memory."""
_bounds: dict[str, int] = {}


def raise_limits(plan: WallPlan, *, count_threads: bool) -> str:
    """Set every limit but the address space; a lower hard limit that is already there stays.

    Args:
        plan: the limits.
        count_threads: RLIMIT_NPROC would count this kernel alone (a user namespace of its own, not root's).

    Returns:
        What was limited, for the wall's row.

    Raises:
        OSError: a limit was refused.
    """
    linux.call("mallopt", M_ARENA_MAX, 2)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_MEMLOCK, 0)
    _lower(resource.RLIMIT_MSGQUEUE, 0)
    _lower(resource.RLIMIT_RTPRIO, 0)
    _lower(resource.RLIMIT_SIGPENDING, PENDING_SIGNALS)
    _lower(resource.RLIMIT_STACK, STACK_MB * MB)
    _lower(resource.RLIMIT_NOFILE, plan.open_files)
    _lower(resource.RLIMIT_FSIZE, max(1, plan.scratch_mb) * MB)
    threads = "threads by memory"
    if count_threads:
        # Counted within the namespace alone: the monitor and the kernel's threads. Elsewhere it would count every
        # process of the user.
        _lower(resource.RLIMIT_NPROC, plan.threads + 1)
        threads = f"{plan.threads} threads"
    return f"{plan.open_files} descriptors, {max(1, plan.scratch_mb)} MB a file, {threads}, no core files"


def open_statm(procfs: int) -> int:
    """Open this process's memory figures below a descriptor of /proc, for `bound_memory` after /proc is out of view."""
    return os.open("self/statm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=procfs)


def bound_memory(statm: int, memory_mb: int) -> str:
    """Limit the address space to what the bare kernel has now, `memory_mb`, and the gap; lets `statm` go.

    Returns:
        What was limited, for the wall's row.

    Raises:
        OSError: the limit was refused, or the figures cannot be read.
    """
    pages = int(os.pread(statm, 256, 0).split()[0])
    os.close(statm)
    bare_bytes = pages * resource.getpagesize()
    _lower(resource.RLIMIT_AS, bare_bytes + (memory_mb + MEMORY_GAP_MB) * MB)
    _bounds["hard"] = resource.getrlimit(resource.RLIMIT_AS)[1]
    return f"{memory_mb} MB above the bare kernel's {bare_bytes // MB} MB"


def soft_memory(on: bool) -> None:
    """Put the soft memory limit in force (at the start of a step) or lift it to the hard one (to report its end).

    Without a hard limit (the wall `rlimits` not asked for) it does nothing. A process whose code lowered the hard
    limit, which nothing can raise again, ends: every later step would find no memory, and a fresh kernel has it.
    """
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY:
        return
    if hard < _bounds.get("hard", 0):
        os._exit(LIMIT_LOWERED)
    resource.setrlimit(resource.RLIMIT_AS, (max(0, hard - MEMORY_GAP_MB * MB) if on else hard, hard))


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (bound, bound))
