"""Landlock: which files this process may open, for as long as it lives. A wall.

Is: one ruleset, deny by default, for files, TCP ports, abstract sockets and signals. Is not: a wall around UDP,
path sockets, chmod, utime or stat, which Landlock does not see (seccomp and the namespaces do).
Above: `raising.py`, `namespaces.py`. Below: `syscalls.py`, `plan.py`.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

from rlm_kernel_mcp.in_kernel.walls import syscalls
from rlm_kernel_mcp.in_kernel.walls.plan import WallPlan

# LANDLOCK_ACCESS_FS_* (linux/landlock.h). What is not named here, a kernel is never granted.
EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
REMOVE_DIR: Final = 1 << 4
REMOVE_FILE: Final = 1 << 5
MAKE_DIR: Final = 1 << 7
MAKE_REG: Final = 1 << 8
MAKE_SOCK: Final = 1 << 9
REFER: Final = 1 << 13
TRUNCATE: Final = 1 << 14
IOCTL_DEV: Final = 1 << 15

READ: Final = READ_FILE | READ_DIR
READ_WRITE: Final = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
# A rule with a directory's rights on a file is refused with EINVAL (landlock_add_rule(2)).
_ON_A_FILE: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

SCOPE_ABSTRACT_SOCKETS: Final = 1
SCOPE_SIGNALS: Final = 2

_NEWEST_TRIED: Final = 7
"""The newest ABI whose bits are used here; a newer kernel offers them all."""
TRUNCATE_ABI: Final = 3
"""Below this, truncate(2) could empty a file that no rule grants, so Landlock alone would not be a wall."""

_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
_NO_LOG: Final = 1
"""LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF: hostile code must not be able to flood the audit log."""


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    try:
        return syscalls.syscall("landlock_create_ruleset", None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def granted(plan: WallPlan, scratch_writable: bool) -> list[tuple[str, int]]:
    """The paths that a kernel may open, each with its access rights."""
    return [
        *((path, READ) for path in plan.read_only),
        (plan.scratch, READ_WRITE if scratch_writable else READ),
        # MAKE_SOCK matters until lock B refuses bind(2). Nothing in here can be removed, renamed or rewritten.
        (plan.socket_dir, READ | MAKE_SOCK),
        # Not /dev/zero: mapped shared and read-only in the window, which no limit of memory counts, it would be memory.
        ("/dev/null", READ_FILE | WRITE_FILE),
        ("/dev/urandom", READ_FILE),
    ]


def restrict(rules: Iterable[tuple[str, int]], *, behind_namespaces: bool, may_signal: bool = False) -> str:
    """Forbid this thread, and all it starts, file accesses that no rule grants, TCP, abstract sockets and signals.

    Args:
        rules: path and granted access; a path that does not exist is left out.
        behind_namespaces: whatever an older Landlock cannot forbid is out of view, or on a read-only mount.
        may_signal: do not restrict signals. A monitor needs this: the scope would also block the parent-death signal
            that its end sends to the kernel.

    Returns:
        What is confined, for the wall's row.

    Raises:
        OSError: there is no Landlock, it is too old to hold alone, or it refused.
    """
    version = min(abi(), _NEWEST_TRIED)
    if version == 0:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock")
    if version < TRUNCATE_ABI and not behind_namespaces:
        raise OSError(
            errno.ENOSYS, f"Landlock ABI {version} cannot forbid truncation; ABI {TRUNCATE_ABI} is the first that holds"
        )
    handled = handled_access(version)
    ruleset = syscalls.syscall(
        "landlock_create_ruleset", ruleset_attributes(version, may_signal=may_signal), attributes_size(version), 0
    )
    try:
        for path, access in rules:
            _allow(ruleset, path, access & handled)
        # Before ABI 7 any flag is EINVAL, and nothing is logged anyway.
        syscalls.syscall("landlock_restrict_self", ruleset, _NO_LOG if version >= 7 else 0)
    finally:
        os.close(ruleset)
    return (
        f"ABI {version}: files{', TCP' if version >= 4 else ''}{', abstract sockets, signals' if version >= 6 else ''}"
    )


def handled_access(version: int) -> int:
    """The file accesses that an ABI can forbid, as a bit mask."""
    # A ruleset with a bit that the running kernel does not know is EINVAL. ABI 1 knows the 13 bits below REFER.
    newer = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
    return (REFER - 1) | sum(bit for first, bit in newer.items() if version >= first)


def ruleset_attributes(version: int, *, may_signal: bool = False) -> bytes:
    """`struct landlock_ruleset_attr`: files; from ABI 4 TCP bind and connect; from 6 abstract sockets and signals."""
    scopes = SCOPE_ABSTRACT_SOCKETS | (0 if may_signal else SCOPE_SIGNALS)
    return struct.pack("=QQQ", handled_access(version), 3 if version >= 4 else 0, scopes if version >= 6 else 0)


def attributes_size(version: int) -> int:
    """How many bytes of `ruleset_attributes` an ABI knows (a longer struct is E2BIG unless the rest is zero)."""
    return 24 if version >= 6 else 16 if version >= 4 else 8


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        # O_PATH: a rule needs the inode only, so neither a right to read nor a device's open is needed.
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _ON_A_FILE
        # `struct landlock_path_beneath_attr` is packed: 12 bytes, hence "=".
        syscalls.syscall("landlock_add_rule", ruleset, _PATH_BENEATH, struct.pack("=Qi", access, descriptor), 0)
    finally:
        os.close(descriptor)
