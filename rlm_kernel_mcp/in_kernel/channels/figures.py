"""Where matplotlib's figures go in a kernel that another Jupyter client owns: to the notebook.

Is: what ipykernel does by the variable MPLBACKEND, without the variable: the environment of a kernel is the same
whoever starts it. Is not: for a session of our own, where figures are drawn on request alone. A courtesy.
Above: `in_kernel/launch.py`. Below: `in_kernel/libraries/arrival.py`, matplotlib_inline once matplotlib is imported.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.libraries.arrival import at_arrival

LIBRARY: Final = "matplotlib"
INLINE: Final = "module://matplotlib_inline.backend_inline"


def show_figures_inline() -> None:
    """From now on figures of a cell are shown at its end, unless the environment names another backend."""
    if "MPLBACKEND" in os.environ:
        return
    if LIBRARY in sys.modules:
        _choose(sys.modules[LIBRARY])
    else:
        at_arrival(LIBRARY, _choose)


def _choose(library: Any) -> None:
    library.rcParams["backend"] = INLINE
