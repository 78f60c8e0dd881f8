"""The server on a machine that gives no namespaces (docker's default profile answers unshare(2) with EPERM)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[4]))

from rlm_kernel_mcp.cli import main
from rlm_kernel_mcp.in_kernel.walls.filters import bpf
from tests.escape.walls.program.hiding import hide

if __name__ == "__main__":
    hide(["unshare"], bpf.REFUSE)
    sys.exit(main())
