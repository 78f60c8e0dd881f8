"""The provisioner that `kernel.json` names: whoever starts this kernelspec gets the same locked kernel.

Is: environment, folders, transport and policy of one kernel, and its process. Is not: the walls, which the kernel
raises in itself (`in_kernel/walls`). Above: jupyter_client's KernelManager, ours (`launch.py`) or anyone's. Below:
`process.py`, `fork_server.py`, `container_launch.py`. Source: jupyter_client's provisioning API, entry point group
`jupyter_client.kernel_provisioners`.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import subprocess
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.launcher import launch_kernel
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.container_launch import KernelContainer
from rlm_kernel_mcp.kernel.fork_server import ENVIRONMENT, ForkServer
from rlm_kernel_mcp.kernel.process import KernelProcess, ended_how, readable
from rlm_kernel_mcp.kernel.rundir import KernelDir, RunDir
from rlm_kernel_mcp.kernel.status import WITHOUT_A_WORD, StatusSocket, without_folders
from rlm_kernel_mcp.policy import Policy, load_policy
from rlm_kernel_mcp.wire import DESCRIPTOR_SOCKET_ENV

REAP_S: Final = 2.0
START_ERRORS: Final = "start-errors"
LAST_BYTES: Final = 4_000


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
    """A `KernelProcess`; the base class says Popen, of which that has the part in use."""
    _options: LaunchOptions | None = None
    _own_run_dir: RunDir | None = None
    _kernel_dir: KernelDir | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Called by the manager before `launch_kernel`: settle folders, transport, policy and environment."""
        self._options = kwargs.pop("rlm_options", None)
        manager: Any = self.parent
        if self._options is None:
            # Another Jupyter client: this kernel has a run folder of its own, and tcp becomes ipc.
            if self._own_run_dir is None:
                self._own_run_dir = RunDir.create()
                # Some clients, jupyter console among them, end without a clean-up.
                atexit.register(self._own_run_dir.remove)
                self._kernel_dir = self._own_run_dir.kernel_dir()
                manager.transport, manager.ip = "ipc", self._kernel_dir.socket_stem
                manager.cache_ports = False
                for port, channel in enumerate(("shell", "iopub", "stdin", "hb", "control"), start=1):
                    setattr(manager, f"{channel}_port", port)
            policy = load_policy(Path(self.kernel_spec.resource_dir) / "policy.json")
        else:
            self._kernel_dir, policy = self._options.kernel_dir, self._options.policy
        kernel_dir = self._kernel_dir
        assert kernel_dir is not None
        kernel_dir.policy_file.write_text(policy.model_dump_json(), encoding="utf-8")
        kwargs["env"] = {}
        kwargs = await super().pre_launch(**kwargs)
        kwargs["env"] = scrubbed_environment(kernel_dir.scratch)
        kwargs["cwd"] = str(kernel_dir.scratch)
        kwargs["cmd"] = _with_own_policy(kwargs["cmd"], kernel_dir)
        if self._options is not None:
            kwargs["cmd"].append("--owned")
        return kwargs

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Called by the manager: fork the kernel where a fork server is offered, else start it cold."""
        options = self._options
        env, cwd = kwargs["env"], kwargs["cwd"]
        if options is None:
            self.process = await _start_cold(cmd, env, cwd, None)
        elif options.container is not None:
            arguments = cmd[cmd.index("-f") :]
            self.process = await options.container.start(arguments, env, options.status, options.descriptors)
        elif options.fork_server is not None:
            env[DESCRIPTOR_SOCKET_ENV] = "4"
            await options.fork_server.fork(cmd, env, cwd, options.status.theirs, options.descriptors)
            self.process = await _forked(options.status)
        else:
            env[DESCRIPTOR_SOCKET_ENV] = str(options.descriptors.fileno())
            self.process = await _start_cold(cmd, env, cwd, options)
        self.pid = self.process.pid
        self.pgid = None
        self.cwd = cwd
        return self.connection_info

    async def wait(self) -> int | None:
        """Called by the manager after kill or shutdown: the death is an event, nothing is polled."""
        if self.process is None:
            return 0
        code: int = await asyncio.shield(self.process.dead)
        self.process = None
        return code

    async def cleanup(self, restart: bool = False) -> None:
        """Called by the manager when the kernel is done with: remove what a foreign client's kernel left."""
        if not restart and self._own_run_dir is not None:
            atexit.unregister(self._own_run_dir.remove)
            self._own_run_dir.remove()
            self._own_run_dir = None


def scrubbed_environment(scratch: Path) -> dict[str, str]:
    """The whole environment of a kernel: nothing of the host's but the time zone."""
    environment = {
        **ENVIRONMENT,
        "HOME": str(scratch),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    if "TZ" in os.environ:
        environment["TZ"] = os.environ["TZ"]
    return environment


def _with_own_policy(cmd: list[str], kernel_dir: KernelDir) -> list[str]:
    """The command with the effective policy in place of the kernelspec's, and the scratch folder."""
    changed = list(cmd)
    changed[changed.index("--policy") + 1] = str(kernel_dir.policy_file)
    return [*changed, "--scratch", str(kernel_dir.scratch)]


async def _start_cold(cmd: list[str], env: dict[str, str], cwd: str, options: LaunchOptions | None) -> KernelProcess:
    """Start a kernel as our own child: an interpreter with everything to import."""
    status = StatusSocket() if options is None else options.status
    passed = [status.theirs.fileno()]
    if options is not None:
        passed.append(options.descriptors.fileno())
    with _start_errors(options) as errors:
        child = launch_kernel(
            [*cmd, "--status-fd", str(passed[0])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if errors is None else errors.fileno(),
            env=env,
            cwd=cwd,
            pass_fds=passed,
        )
    status.close_theirs()
    try:
        pid, pidfd = await status.wait_pid()
        if options is None:
            await status.wait_ready()
    except BaseException as error:
        child.kill()
        code = child.wait()
        status.close()
        if isinstance(error, KernelStartFailed) and error.message == WITHOUT_A_WORD:
            raise _without_a_word(code, options) from error
        raise

    async def reap() -> int:
        ended = os.pidfd_open(child.pid)
        try:
            async with asyncio.timeout(REAP_S):
                await readable(ended)
        except TimeoutError:
            child.kill()
        finally:
            os.close(ended)
            status.close()
        return child.wait()

    return KernelProcess(pid, pidfd, reap)


def _start_errors(options: LaunchOptions | None) -> AbstractContextManager[IO[bytes] | None]:
    """Where the standard error of a process goes until it is a kernel: a file of ours, or the other client's own."""
    return nullcontext() if options is None else (options.kernel_dir.path / START_ERRORS).open("wb")


def _without_a_word(code: int, options: LaunchOptions | None) -> KernelStartFailed:
    """What is to be said of a process that never came to be a kernel: how it ended, and its last line."""
    how = f"The kernel's process {ended_how(code)} before it was ready"
    last = ""
    if options is not None:
        with (options.kernel_dir.path / START_ERRORS).open("rb") as errors:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - LAST_BYTES))
            last = without_folders(errors.read(LAST_BYTES).decode("utf-8", "replace").strip().rpartition("\n")[2])
    return KernelStartFailed(f"{how}: {last}." if last else f"{how}.")


async def _forked(status: StatusSocket) -> KernelProcess:
    status.close_theirs()
    try:
        pid, pidfd = await status.wait_pid()
    except BaseException:
        status.disown()
        raise
    return KernelProcess(pid, pidfd, status.exit_code)
