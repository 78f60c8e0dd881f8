"""Which file systems are interfaces of the operating system, so that no context is read from them.

Is: a look at the mounts, made once for each request. Is not: opening a file. Above: `opening.py`, `listing.py`,
`sources.py`. Below: the system (Linux: /proc/self/mountinfo).
"""

from __future__ import annotations

import functools
import os
from typing import Final

_PSEUDO_FILESYSTEMS: Final = frozenset(
    """
    autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts efivarfs fusectl mqueue nfsd nsfs proc pstore
    rpc_pipefs securityfs selinuxfs sysfs tracefs
    """.split()  # noqa: SIM905 (twenty-one words)
)
"""Pseudo-filesystems: their files are interfaces of the operating system and belong to nobody."""


def is_on_pseudo_filesystem(device: int) -> bool:
    """Whether files with this device number are pseudo-files of the operating system (/proc, /sys).

    They have no size, may differ each time they are read, and some disclose the server's environment or memory.
    """
    # A disk has its driver's major number; the other devices are looked up once for each request.
    return os.major(device) == 0 and device in _pseudo_devices()


def read_mounts_again() -> None:
    """Forget what was looked up: called once for each request, since mounts can change."""
    _pseudo_devices.cache_clear()


@functools.cache
def _pseudo_devices() -> frozenset[int]:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:  # noqa: PTH123 (it is no path of a caller)
            return frozenset(number for line in mounts if (number := _pseudo_device(line)) is not None)
    except FileNotFoundError:  # not Linux
        return frozenset()


def _pseudo_device(mount: str) -> int | None:
    """The device number in a line of mountinfo, if that mounts a pseudo-filesystem."""
    # Fields: id, parent, major:minor, root, mount point, options, optional ones, "-", type (proc_pid_mountinfo(5)).
    before, _, after = mount.partition(" - ")
    fields, kind = before.split(" "), after.split(" ", 1)[0]
    major, _, minor = fields[2].partition(":") if len(fields) > 2 else ("", "", "")
    return os.makedev(int(major), int(minor)) if kind in _PSEUDO_FILESYSTEMS and major.isdecimal() else None
