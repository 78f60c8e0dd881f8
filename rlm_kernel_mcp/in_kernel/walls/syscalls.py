"""System calls that Python's `os` lacks, with each error raised as an OSError. A wall.

Is: thin, typed calls through ctypes. Is not: any decision. Above: the other modules of this package.
Below: the C library.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any, Final

# Options of prctl(2), from linux/prctl.h.
PR_SET_PDEATHSIG: Final = 1
PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_TIMERSLACK: Final = 29
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

CLONE_THREAD_AND_MEMORY: Final = 0x00010900
"""CLONE_VM | CLONE_SIGHAND | CLONE_THREAD."""

# `use_errno`: ctypes saves errno after each call, before the interpreter can change it.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(Path(__file__).with_name("syscalls.json").read_text(encoding="ascii"))
    return tables


def audit_arch(machine: str) -> int:
    """The kernel's AUDIT_ARCH of a machine name (`x86_64`, `aarch64`); KeyError for any other."""
    return int(_tables()[machine]["audit_arch"])


def syscall_numbers(machine: str) -> dict[str, int]:
    """Name to number of the system calls that the walls know, on a machine; KeyError for an unknown machine."""
    numbers: dict[str, int] = _tables()[machine]["numbers"]
    return numbers


Argument = int | bytes | ctypes.Array[ctypes.c_char] | None
"""What a system call takes: a number, bytes to read from, a buffer to write into, or NULL."""


def syscall(name: str, *arguments: Argument) -> int:
    """Make a system call by name.

    Raises:
        OSError: the kernel refused it, or the machine is neither x86_64 nor aarch64 (ENOSYS).
    """
    try:
        number = syscall_numbers(platform.machine())[name]
    except KeyError:
        raise OSError(errno.ENOSYS, f"no number known for {name} on {platform.machine()}") from None
    return _checked(_libc.syscall(ctypes.c_long(number), *map(_word, arguments)), name)


def prctl(option: int, *arguments: int) -> int:
    """`prctl(2)` with unsigned long arguments.

    Raises:
        OSError: the kernel refused it.
    """
    # All four words: prctl is variadic, and some options refuse anything but 0 in those that they do not use.
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(ctypes.c_int(option), *words), f"prctl {option}")


def call(name: str, *arguments: Argument) -> int:
    """Call a function of the C library that returns an int and sets errno (`mount`, `umount2`, `unshare`, ...).

    Raises:
        OSError: it returned -1.
    """
    return _checked(getattr(_libc, name)(*map(_word, arguments)), name)


def is_single_threaded() -> bool:
    """Whether this process has one thread: Linux is asked, or /proc is read if a profile forbids unshare(2)."""
    # These flags change nothing in a process with one thread, and are EINVAL in one with more (unshare(2)).
    try:
        call("unshare", CLONE_THREAD_AND_MEMORY)
    except OSError as error:
        return error.errno != errno.EINVAL and sum(1 for _ in Path("/proc/self/task").iterdir()) == 1
    return True


def _word(argument: Argument) -> Any:
    # Unwrapped, ctypes would pass an int as 32 bits, and the upper half of the register would be undefined.
    if isinstance(argument, int):
        return ctypes.c_long(argument)
    return argument if isinstance(argument, ctypes.Array) else ctypes.c_char_p(argument)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
