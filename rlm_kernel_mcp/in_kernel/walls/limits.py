"""Resource limits of a kernel: descriptors, file size, threads, core files, address space. A wall.

Is: `setrlimit` on this process, and what makes RLIMIT_NPROC count its threads alone. Is not: a step's processor time
and the memory in use, which the host measures from outside. Above: `raising.py`, the shell (`soft_memory`).
Below: the standard library, `syscalls.py`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import resource
import threading
import time
from typing import Final

from rlm_kernel_mcp.in_kernel.walls import syscalls
from rlm_kernel_mcp.in_kernel.walls.plan import MB, WallPlan

MEMORY_GAP_MB: Final = 128
"""Between the hard limit and the soft one, which holds while a step runs: room to report the MemoryError."""
SERVED_MB: Final = 32
"""The part of the gap in which a request is served while a step runs; the rest is for the step's end alone."""
PENDING_SIGNALS: Final = 1024
STACK_MB: Final = 8
FIRST_OWN_USER: Final = 0x70000000
OWN_USERS: Final = 0x0FFFFFFF
"""User ids that nobody has: above what container tools assign, below those that are negative as an int."""
NUMBERS_SINCE: Final = [6, 14]
"""The first Linux in which a pid namespace has a `pid_max` of its own."""
# PID_MAX_LIMIT and RESERVED_PIDS of Linux: what a new namespace's `pid_max` begins with, and where its pids wrap to.
NEW_NAMESPACES_NUMBERS: Final = 4_194_304
RESERVED_NUMBERS: Final = 300
MAP_NORESERVE: Final = 0x4000
M_ARENA_MAX: Final = -8
"""glibc's mallopt(3) option: each arena of a thread reserves 64 MB of address space."""
LIMIT_LOWERED: Final = 71
"""Exit status of a kernel whose code has lowered the hard limit of memory."""
# The hard limit as it was set, by which a lower one is noticed.
_bounds: dict[str, int] = {}
# Both limits of memory, once there was a step: as they are between steps, within one, and while a request is served.
# Made before the step, as there may be no memory for a number later.
_between: list[tuple[int, int]] = []
_within: list[tuple[int, int]] = []
_served: list[tuple[int, int]] = []
_step_runs = [False]
# Held while a request's limit is set. By `acquire` and `release`: `with` needs memory. The main thread never takes it:
# a signal handler of the step's own may raise there behind any call, and nobody would release it.
_turn = threading.Lock()


def raise_limits(plan: WallPlan, *, processes: int, counted: str) -> str:
    """Set every limit except that of the address space; a hard limit that is lower already stays.

    Args:
        plan: the limits.
        processes: RLIMIT_NPROC, if it counts this kernel alone; 0 (not set) if it counts all processes of the user.
        counted: what bounds the number of threads, for the row.

    Returns:
        What was limited, for the wall's row.

    Raises:
        OSError: a limit was refused.
    """
    # Otherwise eight threads would reserve 512 MB of the address space that `bound_memory` limits.
    syscalls.call("mallopt", M_ARENA_MAX, 2)
    # No core files, locked memory, message queues or real-time scheduling: of no use here, and each can hurt others.
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_MEMLOCK, 0)
    _lower(resource.RLIMIT_MSGQUEUE, 0)
    _lower(resource.RLIMIT_RTPRIO, 0)
    _lower(resource.RLIMIT_SIGPENDING, PENDING_SIGNALS)
    _lower(resource.RLIMIT_STACK, STACK_MB * MB)
    _lower(resource.RLIMIT_NOFILE, plan.open_files)
    file_mb = max(1, plan.scratch_mb) if plan.file_mb is None else plan.file_mb
    _lower(resource.RLIMIT_FSIZE, file_mb * MB)
    if processes:
        _lower(resource.RLIMIT_NPROC, processes)
    threads = f"{plan.threads} threads ({counted})"
    return f"{plan.open_files} descriptors, {file_mb} MB a file, {threads}, no core files"


def become_a_user_of_its_own() -> bool:
    """As root, take a real user id that nobody else has, since RLIMIT_NPROC counts by it; whether that was possible.

    The effective user stays, and with it what can be read. Needs CAP_SETUID, and an id that this user namespace maps.
    """
    if os.geteuid() != 0:
        return False
    # At random: kernels of several servers cannot agree on one, and 28 bits make a clash unlikely.
    number = FIRST_OWN_USER + int.from_bytes(os.urandom(4)) % OWN_USERS
    try:
        os.setresuid(number, 0, 0)
    except OSError:
        return False
    return True


def number_threads(procfs: int, threads: int) -> bool:
    """As pid 1 of a new pid namespace, leave it pids for this many threads only; whether the system has such a limit.

    Before Linux 6.14 the file is the whole machine's, which root could change, so it is left alone there. Pids below
    300 are assigned only before the first wrap, so `ns_last_pid` skips them.
    """
    release = [int(part) for part in re.findall(r"\d+", os.uname().release)[:2]]
    if release < NUMBERS_SINCE or os.getpid() != 1:
        return False
    try:
        with os.fdopen(os.open("sys/kernel/pid_max", os.O_RDWR | os.O_CLOEXEC, dir_fd=procfs), "r+b", 0) as most:
            # A fresh namespace has exactly this. Any other value may be the machine's own.
            if int(most.read()) != NEW_NAMESPACES_NUMBERS:
                return False
            with os.fdopen(
                os.open("sys/kernel/ns_last_pid", os.O_WRONLY | os.O_CLOEXEC, dir_fd=procfs), "wb", 0
            ) as last:
                last.write(b"%d" % RESERVED_NUMBERS)
            most.seek(0)
            most.write(b"%d" % (RESERVED_NUMBERS + threads - 1))
    except OSError:  # /proc/sys is read-only in many containers
        return False
    return True


def open_statm(procfs: int) -> int:
    """Open this process's memory figures below a descriptor of /proc, for `bound_memory`, when /proc is out of view."""
    return os.open("self/statm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=procfs)


def bound_memory(statm: int, memory_mb: int, window_gb: int = 0) -> str:
    """Limit the address space to what the bare kernel has now, `memory_mb` and the gap; closes `statm`.

    Not RLIMIT_DATA instead: mprotect(2) gets past that one as soon as the address space is full (decision 0070).

    Args:
        statm: from `open_statm`.
        memory_mb: the policy's.
        window_gb: the size of the window for files, which the kernel has taken already; for the row.

    Returns:
        What was limited, for the wall's row.

    Raises:
        OSError: the limit was refused, or the figures cannot be read.
    """
    # The first field of statm is the size of the address space in pages (proc_pid_statm(5)), as RLIMIT_AS counts it.
    pages = int(os.pread(statm, 256, 0).split()[0])
    os.close(statm)
    bare_bytes = pages * resource.getpagesize()
    _lower(resource.RLIMIT_AS, bare_bytes + (memory_mb + MEMORY_GAP_MB) * MB)
    _bounds["hard"] = resource.getrlimit(resource.RLIMIT_AS)[1]
    # In doctor's probe this is smaller: the process is not a whole kernel.
    begin_mb = bare_bytes // MB - window_gb * 1024
    files = f", {window_gb} GB more for files that are mapped to be read" if window_gb else ""
    return f"{memory_mb} MB beyond the {begin_mb} MB of address space that the process begins with{files}"


def soft_memory(on: bool) -> None:
    """Put the soft memory limit in force (as a step starts), or lift it to the hard one (to report the step's end).

    Without a hard limit (if the wall `rlimits` was not asked for) it does nothing. If user code lowered the hard limit,
    which nothing can raise again, the process ends: later steps would have no memory, and a fresh kernel has it all.
    Lifting it can be repeated, and must be if it was left by an exception.
    """
    if on:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY:
            return
        if hard < _bounds.get("hard", 0):
            os._exit(LIMIT_LOWERED)
        soft = max(0, hard - MEMORY_GAP_MB * MB)
        _between[:], _within[:], _served[:] = [(hard, hard)], [(soft, hard)], [(min(soft + SERVED_MB * MB, hard), hard)]
        _step_runs[0] = True
        resource.setrlimit(resource.RLIMIT_AS, _within[0])
    elif _between:
        # Nothing is made for it: there may be no memory for a number, and then the limit would stay in force.
        _step_runs[0] = False
        while _turn.locked():  # by one who may have seen that the step runs; who comes later sees that it does not
            time.sleep(0)
        try:
            resource.setrlimit(resource.RLIMIT_AS, _between[0])
        except (ValueError, OSError, MemoryError):
            if _is_lowered():  # the hard limit would have to be raised
                os._exit(LIMIT_LOWERED)
            raise  # a signal handler of the step's own has raised it


def soft_memory_of_requests(on: bool) -> None:
    """Lift the soft memory limit of a running step a little while another thread serves a request, or put it back.

    A step that has filled its memory has left none to read the request. What the step takes of it meanwhile is missing
    to later requests and not to the step's end. Between steps it does nothing, nor does
    it where the step has set a limit of its own.
    """
    _turn.acquire()
    try:
        if _step_runs[0] and _is_in_force(_within if on else _served):
            resource.setrlimit(resource.RLIMIT_AS, _served[0] if on else _within[0])
    except (ValueError, OSError, MemoryError):  # user code lowered the hard limit: the process ends with the step
        pass
    finally:
        _turn.release()


def _is_in_force(limits: list[tuple[int, int]]) -> bool:
    """Whether these are the limits; also where there is no memory to see them: such a step needs what is lent most."""
    try:
        return resource.getrlimit(resource.RLIMIT_AS) == limits[0]
    except MemoryError:
        return True


def _is_lowered() -> bool:
    """Whether user code has lowered the hard limit; also where there is no memory to see it."""
    try:
        return resource.getrlimit(resource.RLIMIT_AS)[1] < _between[0][1]
    except MemoryError:
        return True


def has_room(size: int) -> bool:
    """Whether the running step could get this many more bytes in one piece; always true without a limit.

    Found by asking for a mapping that is never touched: 3 µs, and no descriptor that user code could close.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or size <= 0:
        return True
    gap = max(0, soft - (hard - MEMORY_GAP_MB * MB))  # the soft limit is lifted between steps, or for a request
    try:
        mmap.mmap(-1, size + gap, flags=mmap.MAP_PRIVATE | MAP_NORESERVE, prot=0).close()
    except OSError:
        return False
    return True


def trim_heap() -> None:
    """Return to the system the freed memory that the C library keeps."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        syscalls.call("malloc_trim", 0)


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (bound, bound))
