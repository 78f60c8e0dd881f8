"""How full a node is, and which walls it has: what a router places sessions by.

Is: numbers of the machine, or of the control group that bounds this process, and a trial of the walls in a process of
its own. Is not: a decision where a session goes (`cluster/router/`). Above: `host.py`. Below: the kernelspec, procfs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.kernelspec import POLICY_FILE, locked_kernelspec
from rlm_kernel_mcp.policy import load_policy
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.units import MB

PROBE_S: Final = 60.0
CONTAINER: Final = "container"
"""The tier where an engine has the walls: it is asked at each start of a kernel, and not here."""
MEMORY_MAX: Final = Path("/sys/fs/cgroup/memory.max")
MEMORY_NOW: Final = Path("/sys/fs/cgroup/memory.current")


@dataclass(frozen=True, slots=True)
class Walls:
    """What holds kernels here."""

    tier: str
    """As `in_kernel/probe.py` has it, or `container`."""
    policy: str
    """The first digits of the hash of the policy's file: nodes with the same one hold their kernels alike."""


async def walls_of(settings: Settings) -> Walls:
    """Try the walls. Raises: SandboxUnavailable: one that the policy requires does not hold; InvalidInput."""
    policy_file = locked_kernelspec(settings.kernel, settings.jupyter) / POLICY_FILE
    raw = await asyncio.to_thread(policy_file.read_bytes)
    digest = hashlib.sha256(raw).hexdigest()[:16]
    if settings.sandbox_mode == "container":
        return Walls(CONTAINER, digest)
    required = load_policy(policy_file).walls.required
    report = await _probed(policy_file)
    holding = {wall["name"] for wall in report["walls"] if wall["holds"]}
    if missing := [name for name in required if name not in holding]:
        raise SandboxUnavailable(
            f"This node takes no sessions: walls that the policy requires do not hold here: {', '.join(missing)}."
        )
    return Walls(str(report["tier"]), digest)


async def _probed(policy_file: Path) -> dict[str, Any]:
    """Raises: SandboxUnavailable: the trial gave no report."""
    argv = ("-I", "-m", "rlm_kernel_mcp.in_kernel.probe", "--policy", str(policy_file))
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    trial = await asyncio.create_subprocess_exec(sys.executable, *argv, stdin=nothing, stdout=pipe, stderr=nothing)
    try:
        async with asyncio.timeout(PROBE_S):
            said, _ = await trial.communicate()
        report: dict[str, Any] = json.loads(said)
    except (TimeoutError, ValueError):
        raise SandboxUnavailable("The trial of this node's walls gave no report.") from None
    finally:
        if trial.returncode is None:
            with suppress(ProcessLookupError):
                trial.kill()
            await shielded(_ended(trial), "the end of the trial of the walls")
    return report


async def _ended(trial: asyncio.subprocess.Process) -> None:
    await trial.wait()


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the machine, or of the control group that this process is in, in MB."""

    total_mb: int
    free_mb: int

    @classmethod
    def now(cls) -> Memory:
        """As it is just now. Raises: OSError: there is no procfs."""
        rows = (line.split() for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        found = {row[0]: int(row[1]) * 1024 for row in rows if row[0] in ("MemTotal:", "MemAvailable:")}
        total, free = found["MemTotal:"], found["MemAvailable:"]
        with suppress(OSError, ValueError):  # `max`: it has no limit, as has a machine without this file
            most = int(MEMORY_MAX.read_text(encoding="ascii"))
            free = min(free, max(0, most - int(MEMORY_NOW.read_text(encoding="ascii"))))
            total = min(total, most)
        return cls(total // MB, free // MB)

    def within(self, most_mb: int, taken_mb: int) -> Memory:
        """The same of a node that has so much of the machine at most, of which so much is taken; 0: all of it."""
        if not most_mb:
            return self
        return Memory(min(self.total_mb, most_mb), min(self.free_mb, max(0, most_mb - taken_mb)))
