"""A container seen from inside: whether the engine provides what the host asked for. A wall.

Is: a check before any other wall is raised, so that the report says what is there, not what was requested. Is not: the
setting up of anything, which is the engine's work. Above: `in_kernel/launch.py`, `raising.py`. Below: the standard
library, `plan.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.in_kernel.walls.plan import MB, WallFailed, WallPlan, WallStatus

CGROUPS: Final = Path("/sys/fs/cgroup")
UNLIMITED_BYTES: Final = 1 << 60
"""cgroup v1 shows a number near 2**63 where there is no limit."""
PERIOD_US: Final = 100_000
"""The period that both engines use for `--cpus`."""
REMEDY: Final = (
    "Look whether the engine's own configuration overrides the options that the server gives, or set "
    "RLM_SANDBOX_MODE=process."
)
REBUILD: Final = "Rebuild the image with bin/build-image; its label does not say what it holds."
NAMESPACES: Final = "the container's own: mount (read-only), network (no way out), pid, ipc"


def verify(code: str) -> WallStatus:
    """Check this container from inside; the row says what was found, with the limits that the engine has set.

    `code`: the host's `kernel_code()`. It is compared here because an image's label may be stale, or copied.

    Raises:
        WallFailed: the container is not what the host asked for; the reason says in what.
    """
    from rlm_kernel_mcp.kernel_code import kernel_code  # here: the walls stand without the rest of the package

    if kernel_code() != code:
        reason = f"the image holds other kernel code ({kernel_code()}) than the server ({code})."
        raise WallFailed("container", reason, REBUILD)
    for requirement, holds in REQUIREMENTS:
        if not holds():
            raise WallFailed("container", f"this container does not have: {requirement}", REMEDY)
    found = [*(requirement for requirement, _ in REQUIREMENTS), *limits(CGROUPS)]
    return WallStatus("container", True, ", ".join(found))


def limits(cgroups: Path) -> tuple[str, str, str]:
    """The limits of memory, pids and processors, in words. An engine silently drops what it has no right to set."""
    # cgroup v2's file first, then where v1 has the same limit (the host decides which of the two is mounted).
    memory = _first_number(cgroups / "memory.max", cgroups / "memory" / "memory.limit_in_bytes")
    pids = _first_number(cgroups / "pids.max", cgroups / "pids" / "pids.max")
    quota = _first_number(cgroups / "cpu.max", cgroups / "cpu" / "cpu.cfs_quota_us")
    return (
        f"{memory // MB:,} MB" if 0 < memory < UNLIMITED_BYTES else "memory limited by the kernel's own walls alone",
        f"{pids} pids" if pids > 0 else "pids limited by the kernel's own walls alone",
        f"processors: {quota / PERIOD_US:g}" if quota > 0 else "processors: all",
    )


def _first_number(*files: Path) -> int:
    """The first word of the first file that exists, as a number; 0 for `max`, or if none exists."""
    for file in files:
        if file.exists():
            word = file.read_text(encoding="ascii").split()[0]
            return 0 if word == "max" else int(word)
    return 0


def scratch_quota(plan: WallPlan) -> str:
    """How the engine bounds the scratch directory; empty unless both its bytes and its files are bounded."""
    found = os.statvfs(plan.scratch)
    # statvfs(3) reports 0 files for a tmpfs without a bound on inodes, so 0 is not a small bound but none.
    holds = (
        Path(plan.scratch).is_mount()
        and found.f_blocks * found.f_frsize <= max(1, plan.scratch_mb) * MB
        and 0 < found.f_files <= plan.scratch_files
    )
    return f"{plan.scratch_mb} MB and {plan.scratch_files} files on the container's tmpfs" if holds else ""


def _status(field: str) -> str:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    return ""


def _no_capabilities() -> bool:
    # The inheritable and bounding sets too, so that this holds without the next requirement (no new privileges).
    return all(int(_status(field), 16) == 0 for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))


def _no_way_out() -> bool:
    """Whether the loopback has the only routes. Routes, not devices: any network namespace may list idle tunnels."""
    # The first line of `route` is a heading; the device is its first column, and the last one of `ipv6_route`.
    four = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    six_file = Path("/proc/net/ipv6_route")
    six = six_file.read_text(encoding="ascii").splitlines() if six_file.exists() else []
    return {line.split()[0] for line in four} | {line.split()[-1] for line in six} <= {"lo"}


def _alone() -> bool:
    """Whether it has its own pid namespace: beside this process there is at most the engine's init."""
    return sum(path.name.isdigit() for path in Path("/proc").iterdir()) <= 2


def _read_only() -> bool:
    return bool(os.statvfs("/").f_flag & os.ST_RDONLY)


REQUIREMENTS: Final[tuple[tuple[str, Callable[[], bool]], ...]] = (
    ("a user that is not root", lambda: os.getuid() != 0),
    ("a read-only root", _read_only),
    ("no network", _no_way_out),
    ("no capabilities", _no_capabilities),
    ("no new privileges", lambda: _status("NoNewPrivs") == "1"),
    ("processes of its own", _alone),
)
"""What `--user`, `--read-only`, `--network none`, `--cap-drop ALL` and `no-new-privileges` must have brought about."""
