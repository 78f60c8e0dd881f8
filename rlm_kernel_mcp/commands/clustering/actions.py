"""`rlm-kernel-mcp cluster`: which of its actions was asked for.

Is: options to a call, with the action's module imported then. Is not: the actions (`up.py`, `status.py`). Above:
`cli.py`. Below: those.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from rlm_kernel_mcp.settings import Settings


def act(settings: Settings, environ: Mapping[str, str], options: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    if options.action == "up":
        from rlm_kernel_mcp.commands.clustering.up import Wanted, up

        wanted = Wanted(**{name: getattr(options, name) for name in Wanted._fields})
        return up(settings, environ, wanted, as_json=options.json)
    from rlm_kernel_mcp.commands.clustering import status

    if options.action == "drain":
        return status.drain(settings, environ, options.node, options.address, as_json=options.json)
    return status.status(settings, environ, options.address, as_json=options.json)
