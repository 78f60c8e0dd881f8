"""Capabilities: none are left, in no set. A wall.

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

from rlm_kernel_mcp.in_kernel.walls import syscalls as linux

_VERSION_3: Final = 0x20080522
_HEADER: Final = struct.pack("=Ii", _VERSION_3, 0)
_LAST_POSSIBLE: Final = 63


def drop_all() -> str:
    """Drop every capability of the calling thread, and look that none is left.

    Returns:
        What holds, for the wall's row.

    Raises:
        OSError: a set could not be emptied.
    """
    linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
    bounding_is_empty = _empty_bounding_set()
    linux.syscall("capset", _HEADER, bytes(24))
    if any(current_sets()):
        raise OSError(errno.EPERM, f"capabilities are left: {current_sets()}")
    if bounding_is_empty:
        return "every set is empty, the bounding set too"
    return "effective, permitted and inheritable are empty; without no_new_privs a set-user-id program could give some"


def forget_groups() -> None:
    """Root's supplementary groups would stay with the kernel; an ordinary user may not give his up."""
    if os.geteuid() == 0:
        with suppress(PermissionError):
            os.setgroups([])


def current_sets() -> tuple[int, int, int]:
    """The effective, permitted and inheritable set of the calling thread, as bit masks."""
    data = ctypes.create_string_buffer(24)
    linux.syscall("capget", _HEADER, data)
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", data.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def _empty_bounding_set() -> bool:
    for capability in range(_LAST_POSSIBLE + 1):
        try:
            if linux.prctl(linux.PR_CAPBSET_READ, capability):
                linux.prctl(linux.PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the last capability that this kernel knows
                return True
            if error.errno == errno.EPERM:  # an ordinary user may not, and has none to lose
                return False
            raise
    return True
