"""The provisioner that `kernel.json` names: whoever starts this kernelspec gets the same locked kernel.

Is: jupyter_client's way from a manager to a process, with one builder for our own host and for every other client.
Is not: the walls, which the kernel raises in itself (`in_kernel/walls`). Above: jupyter_client's KernelManager, ours
(`kernel/starter.py`) or anyone's. Below: `builder.py`, `foreign_client.py`, `cold.py`, `forked.py`,
`kernel/placement/container/launch.py`. Source: jupyter_client's provisioning API, entry point group
`jupyter_client.kernel_provisioners`.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from rlm_kernel_mcp.kernel.placement.builder import Built, build
from rlm_kernel_mcp.kernel.placement.cold import ClientsProcess, our_process, start_cold
from rlm_kernel_mcp.kernel.placement.container.launch import KernelContainer
from rlm_kernel_mcp.kernel.placement.foreign_client import ForeignClient
from rlm_kernel_mcp.kernel.placement.forked import ForkServer
from rlm_kernel_mcp.kernel.placement.local.process import KernelProcess
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket
from rlm_kernel_mcp.kernel.placement.run_dir import KernelDir
from rlm_kernel_mcp.policy import Policy


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """What our own host tells the provisioner; other Jupyter clients give none of it."""

    kernel_dir: KernelDir
    policy: Policy
    status: StatusSocket
    descriptors: socket.socket
    """The kernel's end of the socket on which the host passes descriptors."""
    fork_server: ForkServer | None = None
    container: KernelContainer | None = None
    """Where the kernel runs in container mode; else in a process of this machine."""


class RlmProvisioner(LocalProvisioner):
    """Starts one locked-down kernel over ipc, forked from a preloaded process where our host offers one."""

    process: Any = None
    """A `KernelProcess` or a `ClientsProcess`; the base class says Popen, of which they have the part in use."""
    _options: LaunchOptions | None = None
    _client: ForeignClient | None = None
    _built: Built | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Called by the manager before `launch_kernel`: settle folders, transport, policy and environment."""
        self._options = options = kwargs.pop("rlm_options", None)
        if options is not None:
            folders, policy = options.kernel_dir, options.policy
        else:
            self._client = self._client or ForeignClient(self.log)
            folders, policy = self._client.prepare(self.parent, self.kernel_spec, kwargs)
        kwargs = await super().pre_launch(**kwargs)
        self._built = build(folders, policy, kwargs["cmd"], dict(self.connection_info), owned=options is not None)
        kwargs["cmd"] = [*self._built.program, *self._built.arguments]
        kwargs["env"], kwargs["cwd"] = self._built.environment, self._built.cwd
        return kwargs

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Called by the manager: fork the kernel where a fork server is offered, else start it cold."""
        del cmd, kwargs
        assert self._built is not None
        if self._options is None:
            assert self._client is not None
            self.process = await self._client.start(self._built)
        else:
            self.process = await _start_ours(self._built, self._options)
        self.pid = self.process.pid
        self.pgid = None
        self.cwd = self._built.cwd
        return self.connection_info

    async def wait(self) -> int | None:
        """Called by the manager after kill or shutdown: the death is an event, nothing is polled."""
        process = self.process
        if process is None:
            return 0
        code: int
        if isinstance(process, ClientsProcess):
            code = await process.ended()
        else:
            code = await asyncio.shield(process.dead)
        self.process = None
        return code

    async def cleanup(self, restart: bool = False) -> None:
        """Called by the manager when the kernel is done with: remove what a foreign client's kernel left."""
        if not restart and self._client is not None:
            self._client.remove()
            self._client = None


async def _start_ours(built: Built, options: LaunchOptions) -> KernelProcess:
    """A kernel of our own host, from wherever it offers."""
    if options.container is not None:
        return await options.container.start(built.arguments, built.environment, options.status, options.descriptors)
    if options.fork_server is None:
        child, pid, pidfd = await start_cold(built, options.status, options.descriptors)
        return our_process(child, pid, pidfd, options.status)
    await options.fork_server.fork(
        built.arguments, built.environment, built.cwd, options.status.theirs, options.descriptors
    )
    return await _forked(options.status)


async def _forked(status: StatusSocket) -> KernelProcess:
    status.close_theirs()
    try:
        pid, pidfd = await status.wait_pid()
    except BaseException:
        status.disown()
        raise
    return KernelProcess(pid, pidfd, status.exit_code)
