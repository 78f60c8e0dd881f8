"""`rlm-kernel-mcp kernelspec`: the kernelspec for other Jupyter clients, installed, removed or listed.

Is: what is printed of it. Is not: where Jupyter looks (`kernel/placement/kernelspec.py`). Above: `cli.py`. Below: that.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rlm_kernel_mcp.kernel.placement.kernelspec import (
    install_kernelspec,
    installed_kernelspecs,
    kernelspecs_left_out,
    remove_kernelspec,
)


def install(prefix: Path | None) -> int:
    """Put it below `prefix`; None: the user's own directory. Raises: as `install_kernelspec`."""
    for directory in install_kernelspec(prefix):
        print(f"installed {directory.name} in {directory}")
    for name, lacking in kernelspecs_left_out().items():
        missing = ", ".join(lacking)
        print(
            f"left out {name}: this Python has no {missing}; the extra [data] of this package brings it",
            file=sys.stderr,
        )
    print(
        "In a notebook, HTML from a locked kernel acts with the notebook's rights: a script in it can do whatever the "
        "page can, including starting an unlocked kernel."
    )
    return 0


def remove(prefix: Path | None) -> int:
    """Delete what `install` put there. Raises: as `remove_kernelspec`."""
    for directory in remove_kernelspec(prefix):
        print(f"removed {directory}")
    return 0


def list_installed() -> int:
    """Show the installed copies, the one that wins first."""
    specs = installed_kernelspecs()
    for spec in specs:
        print(f"{spec.name}  {spec.directory}  ({spec.python})")
    if not specs:
        print("none is installed; `rlm-kernel-mcp kernelspec install` installs one", file=sys.stderr)
    return 0
