"""Chooses where the server has its kernels.

Is: the one place that knows every placement of our own host. Is not: one of them. Above: `kernel/starter.py`. Below:
the placements, the settings.
"""

from __future__ import annotations

from rlm_kernel_mcp.kernel.placement.base import HostPlacement
from rlm_kernel_mcp.kernel.placement.contained import ContainerPlacement
from rlm_kernel_mcp.kernel.placement.forked import ForkedPlacement
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.settings import Settings


def placement_of(settings: Settings, run_dir: RunDir, policy: Policy) -> HostPlacement:
    """The placement that the user's settings ask for (RLM_SANDBOX_MODE); nothing is started yet."""
    forked = ForkedPlacement(run_dir.path, policy)
    if settings.sandbox_mode == "container":
        return ContainerPlacement(settings, run_dir.path, forked)
    run_dir.guard()
    return forked
