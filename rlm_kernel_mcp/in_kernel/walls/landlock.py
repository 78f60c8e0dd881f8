"""Landlock: which files this process may open, for how long as it lives. A wall.

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

from rlm_kernel_mcp.in_kernel.walls import syscalls as linux
from rlm_kernel_mcp.in_kernel.walls.plan import WallPlan

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
_ON_A_FILE: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

SCOPE_ABSTRACT_SOCKETS: Final = 1
SCOPE_SIGNALS: Final = 2

_NEWEST_TRIED: Final = 7
"""The newest ABI whose bits are used here; a newer kernel offers them all."""
TRUNCATE_ABI: Final = 3
"""Below it a file outside could be emptied by truncate(2), so Landlock alone is not a wall."""

_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
_NO_LOG: Final = 1
"""LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF: hostile code must not be able to flood the audit log."""


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    try:
        return linux.syscall("landlock_create_ruleset", None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def granted(plan: WallPlan, scratch_writable: bool) -> list[tuple[str, int]]:
    """What a kernel may open: path and access."""
    return [
        *((path, READ) for path in plan.read_only),
        (plan.scratch, READ_WRITE if scratch_writable else READ),
        # MAKE_SOCK serves until lock B refuses bind(2); nothing here can be removed, renamed or rewritten.
        (plan.socket_dir, READ | MAKE_SOCK),
        # Not /dev/zero: mapped as shared and read, in a window that no limit of memory counts, it is memory.
        ("/dev/null", READ_FILE | WRITE_FILE),
        ("/dev/urandom", READ_FILE),
    ]


def restrict(rules: Iterable[tuple[str, int]], *, behind_namespaces: bool, may_signal: bool = False) -> str:
    """Forbid this thread, and all it starts, every file access that no rule grants; TCP, abstract sockets, signals too.

    Args:
        rules: path and granted access; a path that does not exist is left out.
        behind_namespaces: what an older Landlock cannot forbid is out of view or on a read-only mount.
        may_signal: leave signals free. A monitor's must be: the scope would also stop the parent-death signal from it.

    Returns:
        What is confined, for the wall's row.

    Raises:
        OSError: no Landlock, one that is too old to hold alone, or a refusal.
    """
    version = min(abi(), _NEWEST_TRIED)
    if version == 0:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock")
    if version < TRUNCATE_ABI and not behind_namespaces:
        raise OSError(
            38, f"Landlock ABI {version} cannot forbid truncation; ABI {TRUNCATE_ABI} is the first that holds"
        )
    handled = handled_access(version)
    ruleset = linux.syscall(
        "landlock_create_ruleset", ruleset_attributes(version, may_signal=may_signal), attributes_size(version), 0
    )
    try:
        for path, access in rules:
            _allow(ruleset, path, access & handled)
        linux.syscall("landlock_restrict_self", ruleset, _NO_LOG if version >= 7 else 0)
    finally:
        os.close(ruleset)
    return (
        f"ABI {version}: files{', TCP' if version >= 4 else ''}{', abstract sockets, signals' if version >= 6 else ''}"
    )


def handled_access(version: int) -> int:
    """The file accesses that an ABI can forbid, as a bit mask."""
    newer = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
    return (REFER - 1) | sum(bit for first, bit in newer.items() if version >= first)


def ruleset_attributes(version: int, *, may_signal: bool = False) -> bytes:
    """`struct landlock_ruleset_attr`: files; from ABI 4 TCP bind and connect; from 6 abstract sockets and signals."""
    scopes = SCOPE_ABSTRACT_SOCKETS | (0 if may_signal else SCOPE_SIGNALS)
    return struct.pack("=QQQ", handled_access(version), 3 if version >= 4 else 0, scopes if version >= 6 else 0)


def attributes_size(version: int) -> int:
    """How many bytes of `ruleset_attributes` an ABI knows."""
    return 24 if version >= 6 else 16 if version >= 4 else 8


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _ON_A_FILE
        linux.syscall("landlock_add_rule", ruleset, _PATH_BENEATH, struct.pack("=Qi", access, descriptor), 0)
    finally:
        os.close(descriptor)
