"""How far the sources of a notebook are read, for whoever runs it in this process and looks.

Is: the one word between that and the filling of a kernel, between which jupyter_client stands, that hands nothing on.
Above: `filling.py`, `commands/notebooks.py`. Below: `session/contexts/given.py`.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from rlm_kernel_mcp.session.contexts.given import Progress

READS: Final[ContextVar[list[Progress] | None]] = ContextVar("READS", default=None)
"""Each source that is read adds its own; None: nobody looks."""
