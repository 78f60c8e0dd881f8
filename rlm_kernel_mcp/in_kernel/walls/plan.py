"""What to raise: the plan of a kernel's walls, and the rows that say what came of it. A wall.

Is: data, made from the parsed `policy.json` and the paths of one kernel. Is not: any system call.
Above: every other module of this package. Below: the standard library.
"""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

WALLS: Final = (
    "rlimits",
    "no_new_privs",
    "not_dumpable",
    "capabilities",
    "landlock",
    "seccomp",
    "namespaces",
    "scratch_quota",
)
"""Every wall, in the order in which its row is shown."""

MB: Final = 1 << 20
READ_ONLY_SCRATCH: Final = "the scratch directory is read-only"
"""In the row `scratch_quota` if so. The host recognises these words; `wire.py` has the same (held by a test)."""
REMEDIES: Final = {
    "rlimits": "Start the server with a hard limit of processor time, files and memory no lower than the policy's.",
    "no_new_privs": "Use Linux 3.5 or later.",
    "not_dumpable": "Use Linux 2.6 or later with prctl allowed.",
    "capabilities": "Start the server as an ordinary user, or with the right to drop its capabilities.",
    "landlock": "Use Linux 6.2 or later with Landlock switched on (boot option lsm=landlock,...).",
    "seccomp": "Use Linux 4.14 or later on x86_64 or aarch64, with seccomp allowed.",
    "namespaces": "Allow unprivileged user namespaces (Linux 5.12 or later): user.max_user_namespaces above 0, no "
    "AppArmor or container profile that forbids them.",
    "scratch_quota": "Needs the wall `namespaces`; without it the scratch directory is read-only.",
}
"""What a person can do about a wall that cannot be raised."""

SYSTEM_PATHS: Final = (
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/ld.so.cache",
)
"""Shared libraries and time zones, readable in every kernel."""


@dataclass(frozen=True, slots=True)
class WallStatus:
    """One wall of one kernel: whether it holds, what it consists of or why it is missing, and the remedy."""

    name: str
    holds: bool
    detail: str
    remedy: str = ""


class WallFailed(Exception):
    """A required wall cannot be raised, or one failed half-way; no user code may run in this process.

    Attributes:
        wall: name of the wall.
        reason: what the operating system answered.
        remedy: what a person can do about it.
    """

    def __init__(self, wall: str, reason: str, remedy: str) -> None:
        super().__init__(f"The wall `{wall}` cannot be raised: {reason} {remedy}")
        self.wall = wall
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class WallPlan:
    """Everything the walls of one kernel need to know. Paths are absolute; units stand in the names."""

    scratch: str
    socket_dir: str
    read_only: tuple[str, ...]
    memory_mb: int
    mapped_max_gb: int
    open_files: int
    threads: int
    scratch_mb: int
    scratch_files: int
    required: frozenset[str]
    wanted: frozenset[str]
    parent_pid: int
    """The process whose end also ends this one; a kernel that finds another parent was orphaned as it started."""
    map_libraries: bool = False
    """Steps may import any installed module, or the policy has some imported at first use, so extension modules are
    mapped after the walls are up (decisions 0010, 0162)."""
    file_mb: int | None = None
    """The largest file that it may write through a descriptor that it was given; None: as large as its scratch."""
    in_container: bool = False
    """This process is in a container that `container.verify` has found to be what the host asked for."""

    def asks_for(self, wall: str) -> bool:
        """Whether the policy requires or wants this wall; a wall in neither list is not raised."""
        return wall in self.required or wall in self.wanted


def plan_from_policy(
    policy: Mapping[str, Any],
    *,
    scratch: str,
    socket_dir: str,
    read_only: Sequence[str] = (),
) -> WallPlan:
    """The plan of one kernel, made by the process that will raise the walls (it records its parent).

    Args:
        policy: the parsed `policy.json` (`limits`, `walls`, `context`).
        scratch: directory of the user's files; exists, and belongs to the caller.
        socket_dir: directory of the ipc sockets and the connection file, mode 0700, with nothing else in it.
        read_only: what user code may read besides the Python installation.

    Raises:
        WallFailed: a path is not absolute, or lies where the scratch directory would cover it.
    """
    limits, walls = policy["limits"], policy["walls"]
    for path in (scratch, socket_dir, *read_only):
        if not Path(path).is_absolute():
            raise WallFailed("landlock", f"the path {path!r} is not absolute.", "Give absolute paths.")
        # A tmpfs will be mounted on the scratch directory, and would hide it.
        if path != scratch and Path(path).is_relative_to(scratch):
            raise WallFailed("namespaces", f"{path!r} lies inside the scratch directory.", "Use separate directories.")
    return WallPlan(
        scratch=scratch,
        socket_dir=socket_dir,
        read_only=(*installation_paths(), *read_only),
        memory_mb=int(limits["memory_mb"]) + int(limits.get("libraries_mb", 0)),
        mapped_max_gb=int(policy["context"]["mapped_max_gb"]),
        open_files=int(limits["open_files"]),
        threads=int(limits["threads"]),
        scratch_mb=int(limits["scratch_mb"]),
        scratch_files=int(limits["scratch_files"]),
        required=frozenset(walls["required"]),
        wanted=frozenset(walls["wanted"]),
        parent_pid=os.getppid(),
        map_libraries=policy["imports"]["mode"] == "any" or bool(policy["imports"].get("at_first_use")),
    )


def installation_paths() -> tuple[str, ...]:
    """What a kernel reads of the machine: Python's libraries, this package, shared libraries, time zones.

    Not the whole prefixes (a prefix may be `/usr` or a home directory), and of `sys.path` only directories of installed
    packages: an editable install of another project stays out of view, unless it is imported (`package_locations.py`).
    """
    return tuple(path for path in _installation() if os.access(path, os.R_OK))


@functools.cache
def _installation() -> tuple[str, ...]:
    """Computed once a process: asking `sysconfig` takes longer than a wall, and a fork server's kernels inherit it."""
    paths = [*SYSTEM_PATHS, str(Path(__file__).resolve().parents[2])]
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix):
        paths += [f"{prefix}/lib", f"{prefix}/lib64", f"{prefix}/pyvenv.cfg"]
    paths += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    paths += _package_directories()
    return tuple(dict.fromkeys(paths))


def package_directories() -> tuple[str, ...]:
    """The directories of installed packages that can be read."""
    return tuple(path for path in _package_directories() if os.access(path, os.R_OK))


def _package_directories() -> tuple[str, ...]:
    paths = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    return tuple(dict.fromkeys(paths))
