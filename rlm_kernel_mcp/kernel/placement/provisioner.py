"""The provisioner that `kernel.json` names: whoever starts this kernelspec gets the same locked kernel.

Is: jupyter_client's way from a manager to a process: the order of a start, the one builder's command for it, and the
order's placement. Is not: a placement, nor the walls, which the kernel raises in itself (`in_kernel/walls`). Above:
jupyter_client's KernelManager, ours (`kernel/starter.py`, which gives its order) or anyone's. Below: `base.py`,
`builder.py`, `foreign_client.py`. Source: jupyter_client's provisioning API, entry point group
`jupyter_client.kernel_provisioners`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from rlm_kernel_mcp.kernel.placement.base import Command, Filler, Order, Started
from rlm_kernel_mcp.kernel.placement.builder import build
from rlm_kernel_mcp.kernel.placement.foreign_client import ForeignClient


class RlmProvisioner(LocalProvisioner):
    """Starts one locked-down kernel over ipc, where its order says."""

    process: Any = None
    """A `base.ManagedProcess`; the base class declares a Popen, of which this has the part that is used."""
    started: Started | None = None
    """What the start gave back, for whoever ordered it."""
    _client: ForeignClient | None = None
    _order: Order | None = None
    _command: Command | None = None

    def filler_of(self, environment: Mapping[str, str]) -> Filler | None:
        """What a kernel of another client is to have before that has it; nothing here (`notebook/running/`)."""
        del environment
        return None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Called by the manager before `launch_kernel`: settle the order, the transport and the command.

        `order`: our own host's; no other client gives one.
        """
        order: Order | None = kwargs.pop("order", None)
        if order is None:
            self._client = self._client or ForeignClient(self.log, self.filler_of)
            order = self._client.order(self.parent, self.kernel_spec, kwargs)
        kwargs = await super().pre_launch(**kwargs)
        self._order, self._command = order, build(order, kwargs["cmd"], dict(self.connection_info))
        kwargs["cmd"] = [*self._command.program, *self._command.arguments]
        kwargs["env"], kwargs["cwd"] = self._command.environment, self._command.cwd
        return kwargs

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Called by the manager: start the kernel's process by the order's placement."""
        del cmd, kwargs
        assert self._order is not None
        assert self._command is not None
        self.started = await self._order.placement.start(self._order, self._command)
        self.process = self.started.process
        self.pid = self.process.pid
        # The kernel has a process group of its own that this process may not be able to see: jupyter_client must not
        # signal one.
        self.pgid = None
        self.cwd = self._command.cwd
        return self.connection_info

    async def wait(self) -> int | None:
        """Called by the manager after kill or shutdown: the death is an event, nothing is polled."""
        if self.process is None:
            return 0
        code: int = await self.process.ended()
        self.process = None
        return code

    async def cleanup(self, restart: bool = False) -> None:
        """Called by the manager when the kernel is done with: remove what a foreign client's kernel left."""
        if not restart and self._client is not None:
            self._client.remove()
            self._client = None
