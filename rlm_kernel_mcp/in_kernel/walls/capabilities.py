"""Capabilities: the kernel has none, in any set. A wall.

Is: the dropping of the bounding, ambient, inheritable, permitted and effective sets of this thread, and of root's
groups. Is not: a change of user. Above: `raising.py`, `namespaces.py`. Below: `syscalls.py`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from contextlib import suppress
from typing import Final

from rlm_kernel_mcp.in_kernel.walls import syscalls

# `struct __user_cap_header_struct`: the version, and pid 0 for the calling thread (capget(2)).
_VERSION_3: Final = 0x20080522
_HEADER: Final = struct.pack("=Ii", _VERSION_3, 0)
# Version 3 holds 64 bits a set; Linux names 41 of them so far, and more may follow.
_LAST_POSSIBLE: Final = 63


def drop_all() -> str:
    """Drop every capability of the calling thread, and check that none is left.

    Returns:
        What holds, for the wall's row.

    Raises:
        OSError: a set could not be emptied.
    """
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    # Before capset: shrinking the bounding set takes CAP_SETPCAP, which capset gives away.
    bounding_is_empty = _empty_bounding_set()
    # Two `struct __user_cap_data_struct` of three 32-bit words each, all zero.
    syscalls.syscall("capset", _HEADER, bytes(24))
    if any(current_sets()):
        raise OSError(errno.EPERM, f"capabilities are left: {current_sets()}")
    if bounding_is_empty:
        return "every set is empty, the bounding set too"
    return "effective, permitted and inheritable are empty; without no_new_privs a set-user-id program could give some"


def forget_groups() -> None:
    """Drop root's supplementary groups, which the kernel would keep; an ordinary user has no right to drop any."""
    if os.geteuid() == 0:
        with suppress(PermissionError):
            os.setgroups([])


def current_sets() -> tuple[int, int, int]:
    """The effective, permitted and inheritable set of the calling thread, as bit masks."""
    data = ctypes.create_string_buffer(24)
    syscalls.syscall("capget", _HEADER, data)
    # The lower halves of all three sets come first, then the upper halves.
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", data.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def _empty_bounding_set() -> bool:
    for capability in range(_LAST_POSSIBLE + 1):
        try:
            if syscalls.prctl(syscalls.PR_CAPBSET_READ, capability):
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the last capability that this kernel knows
                return True
            if error.errno == errno.EPERM:  # without CAP_SETPCAP nothing is dropped, and nothing is held either
                return False
            raise
    return True
