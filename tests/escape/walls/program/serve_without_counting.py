"""The server on a machine where nothing of the system's counts a kernel's threads alone.

As an ordinary user's where namespaces are refused: none, and no other user to become.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[4]))

from rlm_kernel_mcp.cli import main
from rlm_kernel_mcp.in_kernel.walls.filters import bpf
from tests.escape.walls.program.hiding import hide

if __name__ == "__main__":
    hide(["unshare", "setresuid"], bpf.REFUSE)
    sys.exit(main())
