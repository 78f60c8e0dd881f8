"""Makes this process's machine one that lacks some system calls, as an older kernel or a container's profile does."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from rlm_kernel_mcp.in_kernel.walls import syscalls
from rlm_kernel_mcp.in_kernel.walls.filters import bpf, seccomp
from tests.escape.walls.program.attacks_surface import REFUSED


def hide(calls: Sequence[str], answer: int = bpf.UNKNOWN) -> None:
    """Let these system calls fail from now on, here and in all that is started; ENOSYS unless told otherwise."""
    if not calls:
        return
    machine = platform.machine()
    numbers = syscalls.syscall_numbers(machine) | REFUSED[machine]
    tests = [
        step
        for call in calls
        for step in (bpf.Instruction(bpf.JUMP_EQUAL, numbers[call], 0, 1), bpf.Instruction(bpf.RETURN, answer))
    ]
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    seccomp._load((bpf.Instruction(bpf.LOAD, bpf.NUMBER_OFFSET), *tests, bpf.Instruction(bpf.RETURN, bpf.ALLOW)))
