"""The provisioner that `kernel.json` names, with the sources of a notebook where the environment names one.

Is: the one place where a kernel's start and a notebook meet: `kernel/` knows nothing of either. Is not: a placement,
nor what is loaded (`filling.py`, imported only where it is wanted). Above: the entry point
`jupyter_client.kernel_provisioners`. Below: `kernel/placement/provisioner.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlm_kernel_mcp.kernel.placement.base import Filler
from rlm_kernel_mcp.kernel.placement.provisioner import RlmProvisioner
from rlm_kernel_mcp.notebook.form.names import VARIABLE


class NotebookProvisioner(RlmProvisioner):
    """Starts one locked-down kernel; of another client that wants a notebook's sources, with those."""

    def filler_of(self, environment: Mapping[str, str]) -> Filler | None:
        """By RLM_NOTEBOOK. Raises: InvalidInput: a setting is wrong."""
        if not environment.get(VARIABLE):
            return None
        from rlm_kernel_mcp.notebook.running.filling import NotebookFiller

        return NotebookFiller.of(Path.cwd(), environment)
