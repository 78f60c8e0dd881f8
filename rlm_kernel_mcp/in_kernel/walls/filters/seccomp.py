"""Seccomp: a filter on every system call of every thread, which nothing can remove. A wall.

Is: loading a filter, and checking that it is in force. Is not: what it lets through (`programs.py`).
Above: `in_kernel/walls/raising.py`, `in_kernel/walls/namespaces.py`. Below: `in_kernel/walls/syscalls.py`, `bpf.py`.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Sequence
from typing import Final

from rlm_kernel_mcp.in_kernel.walls import syscalls
from rlm_kernel_mcp.in_kernel.walls.filters import bpf
from rlm_kernel_mcp.in_kernel.walls.filters import programs as filters

_SET_MODE_FILTER: Final = 1
_TSYNC: Final = 1


def load_stage(
    stage: filters.Stage,
    pid: int,
    *,
    map_libraries: bool = False,
    threads: Sequence[int] | None = (),
    window: filters.Window | None = None,
) -> str:
    """Put a stage's filter on every thread of this process; no_new_privs must be set. Arguments as in `kernel_filter`.

    Returns:
        What was loaded, for the wall's row.

    Raises:
        OSError: the machine is neither x86_64 nor aarch64, or the kernel refused.
    """
    program = filters.kernel_filter(_machine(), stage, pid, map_libraries=map_libraries, threads=threads, window=window)
    _load(program)
    return f"allowlist of stage {stage} on every thread, {len(program)} instructions"


def load_monitor(own_pid: int, pidfd: int) -> None:
    """Put the monitor's filter on this process.

    Raises:
        OSError: as for `load_stage`.
    """
    _load(filters.monitor_filter(_machine(), own_pid, pidfd))


def _machine() -> str:
    machine = platform.machine()
    try:
        syscalls.audit_arch(machine)
    except KeyError:
        raise OSError(errno.ENOSYS, f"no filter is known for a machine of type {machine}") from None
    return machine


def _load(program: bpf.Body) -> None:
    # Filters add up: after stage B a call must pass both, so stage B can only take away.
    code = bpf.pack(program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # `struct sock_fprog`: the number of instructions, padding, and a pointer to the first.
    header = struct.pack("=H6xQ", len(program), ctypes.addressof(buffer))
    # Under TSYNC a positive result is the thread that could not follow; then no thread has the filter (seccomp(2)).
    unsynchronised = syscalls.syscall("seccomp", _SET_MODE_FILTER, _TSYNC, header)
    if unsynchronised:
        raise OSError(errno.EAGAIN, f"thread {unsynchronised} did not take the filter")
