"""The placement of any other Jupyter client: a cold start, with what our own host does for its kernels.

Is: the run directory of that one kernel, its transport, its policy with the user's settings, and its start to the end.
Is not: anything that would make it another kernel (`builder.py`). Above: `provisioner.py`. Below: `base.py`,
`run_dir.py`, `cold.py`, the policy, the settings.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from logging import Logger
from pathlib import Path
from typing import Any

from rlm_kernel_mcp.errors import KernelStartFailed, RlmError, SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.base import Command, Filler, Order
from rlm_kernel_mcp.kernel.placement.builder import effective_policy, use_sockets
from rlm_kernel_mcp.kernel.placement.cold import REAP_S, ClientsProcess, start_cold
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir
from rlm_kernel_mcp.kernel.placement.local.started import Ends
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.settings import CHECKING, doubts, load_kernel_settings


@dataclass(frozen=True, slots=True)
class ClientsKernel:
    """`base.Started`: ready for code, since the client asks for no more."""

    process: ClientsProcess


class ForeignClient:
    """`base.Placement` for one kernel of another Jupyter client, over its restarts.

    Its directories last until the client is done with it.
    """

    def __init__(self, log: Logger, filler_of: Callable[[Mapping[str, str]], Filler | None]) -> None:
        """`filler_of`: what the kernel is to have, by the environment of whoever starts it."""
        self._log, self._filler_of = log, filler_of
        self._filler: Filler | None = None
        self._run_dir: RunDir | None = None
        self._directories: KernelDir | None = None

    def order(self, manager: Any, spec: Any, arguments: dict[str, Any]) -> Order:
        """Called before each start (`pre_launch`): fresh directories and the policy; the manager gets its transport.

        Args:
            manager: jupyter_client's; whatever transport it was set to becomes ipc, and it writes that down.
            spec: the kernelspec.
            arguments: what the client gave with the start.

        Raises:
            RlmError: the directories cannot be made; the policy, or a setting in the environment, is wrong.
        """
        environment: Mapping[str, str] = arguments.get("env") or os.environ
        with self._nothing_left():
            self._filler = self._filler_of(environment)
            policy = self._effective_policy(spec, {**environment, **spec.env})
            if self._directories is None:
                self._make_directories()
            else:
                self._directories.make_anew()
        assert self._directories is not None
        # `jupyter run FILE` hands its own file on: only an option would change a kernel.
        ignored = [str(argument) for argument in arguments.pop("extra_arguments", None) or ()]
        if any(argument.startswith("-") for argument in ignored):
            self._log.warning("A locked kernel takes no arguments; left out: %s", " ".join(ignored))
        use_sockets(manager, self._directories)
        is_notebook, zone = self._filler is not None, environment.get("TZ")
        return Order(self, self._directories, policy, owned=False, notebook=is_notebook, time_zone=zone)

    async def start(self, order: Order, command: Command) -> ClientsKernel:
        """Called by the provisioner (`launch_kernel`): start it and wait until it is ready, within the policy's time.

        Raises:
            SandboxUnavailable: a required wall cannot be raised.
            KernelStartFailed: anything else.
            KernelDied: it did not take what it was to have. Nothing is left after any of them.
        """
        limit_ms = order.policy.start_timeout_ms
        with self._nothing_left(), closing(Ends()) as ends:
            try:
                async with asyncio.timeout(limit_ms / 1000):
                    process = await _start(order, command, ends)
            except TimeoutError as error:
                raise KernelStartFailed(f"The kernel was not ready within {limit_ms:,} ms.") from error
            if self._filler is not None:
                try:
                    await self._filler.fill(order, process, ends.pass_descriptor)
                except BaseException:
                    _end(process)
                    raise
            return ClientsKernel(process)

    def remove(self) -> None:
        """Called when the client is done with the kernel (`cleanup`), or this process ends: remove the directories.

        The kernel is gone, or goes with this process.
        """
        atexit.unregister(self.remove)
        if self._run_dir is not None:
            self._run_dir.remove()
            self._run_dir = self._directories = None

    @contextmanager
    def _nothing_left(self) -> Iterator[None]:
        """Where a start fails, the directories go, since many a client calls no clean-up then.

        A client shows the text of an error alone, so that what to do next is added to it.
        """
        try:
            yield
        except RlmError as error:
            self.remove()
            if error.next_step == error.default_next_step:
                raise
            raise type(error)(f"{error.message} {error.next_step}", error.next_step) from error
        except BaseException:
            self.remove()
            raise

    def _effective_policy(self, spec: Any, environment: Mapping[str, str]) -> Policy:
        """The policy, with settings from the client's environment and the kernelspec, which our own host reads too."""
        settings = load_kernel_settings(environment)
        if self._filler is not None:  # its code's questions are answered, and an answer may be to have a schema
            settings = replace(settings, preload=CHECKING)
        if settings.sandbox_mode == "container" and settings.sandbox_fallback != "process":
            raise SandboxUnavailable(
                "RLM_SANDBOX_MODE=container: only the server `rlm-kernel-mcp` runs kernels in containers.",
                "Start this client without that setting, or with RLM_SANDBOX_FALLBACK=process: the kernel is then "
                "locked by the walls of this process alone.",
            )
        ours = spec.argv[:1] in (["python"], [sys.executable])  # the modules of another Python are not known here
        for doubt in doubts(environment, settings if ours else replace(settings, imports=())):
            self._log.warning("%s", doubt)
        return effective_policy(Path(spec.resource_dir), settings)

    def _make_directories(self) -> None:
        self._run_dir = RunDir.create()
        # Some clients, jupyter console among them, end without a clean-up, and any may be killed.
        atexit.register(self.remove)
        self._run_dir.guard()
        self._directories = self._run_dir.kernel_dir()


async def _start(order: Order, command: Command, ends: Ends) -> ClientsProcess:
    child, pid, pidfd = await start_cold(order, command, ends)
    process = ClientsProcess(pid, pidfd, child)
    try:
        await ends.status.wait_ready()
    except BaseException:
        _end(process)
        raise
    return process


def _end(process: ClientsProcess) -> None:
    process.kill()
    # SIGKILL does not reach a process in uninterruptible sleep (a dead network file system).
    with suppress(subprocess.TimeoutExpired):  # the system holds it; it ends when it can
        process.wait(REAP_S)
