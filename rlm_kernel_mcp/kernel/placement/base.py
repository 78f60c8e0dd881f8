"""What a placement is: where a kernel's process comes from, and what the host has of it.

Is: the order of a start, what a start gives back, and for each method who calls it and when; jupyter_client's
`provisioner_base` is the model. Is not: one of them. Above: `provisioner.py`, `kernel/starter.py`, `kernel/kernel.py`.
Below: `local/kernel_dir.py`, the policy.

The way of a start: `kernel/starter.py` has a placement (`choice.py`) and makes the kernel's directories; it gives the
order to jupyter_client's manager, which hands it to the provisioner that the kernelspec names; `builder.py` makes the
command, and the order's placement starts it. Whoever keeps kernels elsewhere than on this machine keeps this:

- the kernel's five sockets are served at `order.directories.socket_stem` when `ready` returns, for the host and for a
  console, which read the connection file there: a placement elsewhere relays them;
- a descriptor that is passed (a context's or the snapshots' file to read, or a pipe to write to) is served as if the
  kernel had it: a placement elsewhere copies through it;
- what the kernel uses is measured by whoever runs it, and never by the kernel.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rlm_kernel_mcp.errors import SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir
from rlm_kernel_mcp.policy import Policy


@dataclass(frozen=True, slots=True)
class Order:
    """One kernel that is to be started. jupyter_client's manager hands it on as it is, as the argument `order`."""

    placement: Placement
    """Where."""
    directories: KernelDir
    """Made for this kernel, on the host's machine."""
    policy: Policy
    """The effective one."""
    owned: bool
    """Started by our own host, which keeps sessions in its kernels."""
    taken: Taken | None = None
    """What its placement took for it (`HostPlacement.take`)."""
    notebook: bool = False
    """Whether a notebook of a session runs again in it: it then says and shows what the session's kernel did."""
    time_zone: str | None = None
    """TZ, as its client has it; None: not set."""


@dataclass(frozen=True, slots=True)
class Command:
    """What one kernel is started with, made by `builder.py`. A fork and a container have a program of their own."""

    program: tuple[str, ...]
    """Interpreter and module, as the kernelspec has them."""
    arguments: tuple[str, ...]
    environment: dict[str, str]
    """All of it: nothing is inherited."""
    cwd: str


class Taken(Protocol):
    """What a placement took for one kernel before anything was made for it."""

    def close(self) -> None:
        """Called where the start fails: release it. Safe to call twice."""


class ManagedProcess(Protocol):
    """A kernel's process as jupyter_client's manager uses it: part of `subprocess.Popen`, and the end as an event."""

    pid: int
    """For people and for the record. Nothing is signalled or measured by it."""

    @property
    def returncode(self) -> int | None:
        """None while it lives."""

    def poll(self) -> int | None:
        """Called by the manager to see whether it lives: its exit code, or None."""

    def wait(self, timeout: float | None = None) -> int:
        """Called by the manager after the end: the exit code."""

    def send_signal(self, signum: int) -> None:
        """Called by the manager (`interrupt_kernel`) and by a session (the ladder); nothing happens once it is gone."""

    def kill(self) -> None:
        """Called to end it (SIGKILL). `ended`, or `HostProcess.dead`, reports the end itself."""

    def terminate(self) -> None:
        """Called by the manager of another client before `kill` (SIGTERM)."""

    async def ended(self) -> int:
        """Called by the provisioner's `wait`, in whatever event loop: the exit code, once it has ended."""


class HostProcess(ManagedProcess, Protocol):
    """A kernel's process as our own host uses it, in its event loop. A measure is 0 once the process is gone."""

    dead: asyncio.Future[int]
    """Done with the exit code, once nothing of the process is left."""

    def give_way(self) -> None:
        """Called at each look at a kernel with many threads: weigh it less than the host from now on."""

    def cpu_ms(self) -> int:
        """Called before and after a step and every 50 ms during it: processor time so far over all threads, in ms."""

    def memory_bytes(self) -> int:
        """Called when it is ready, and every 50 ms during a step: memory of its own, without that of mapped files."""

    def thread_count(self) -> int:
        """Called every 50 ms in a step, each second between steps, and every 10 ms where nothing else bounds it."""


class Started(Protocol):
    """What every start gives back."""

    @property
    def process(self) -> ManagedProcess:
        """Handed to jupyter_client's manager."""


class StartedKernel(Started, Protocol):
    """What a start for our own host gives back: a kernel of which nothing is known yet but that it exists."""

    @property
    def process(self) -> HostProcess:
        """The kernel's process, from now until its end."""

    async def ready(self) -> list[dict[str, Any]]:
        """Called once by `kernel/starter.py`, right after the start: the rows of the walls, once it is ready for code.

        It has `Policy.start_timeout_ms`, counted from the beginning of the start; then this is cancelled.

        Raises:
            SandboxUnavailable: a required wall cannot be raised.
            KernelStartFailed: anything else; or the kernel ended.
        """

    def pass_descriptor(self, descriptor: int, *, shell: bool = False) -> None:
        """Called by `session/` with an open file for the kernel's next request, and closed there: it is copied.

        `shell`: whether that request goes by the shell channel, and not by the control channel.

        Raises:
            OSError: the kernel does not take it.
        """

    def abandon(self) -> None:
        """Called in place of `ready`, or while it runs, where the start is given up: end the process."""

    def close(self) -> None:
        """Called once at the end, when the process is gone or was given up: release what the host holds of it."""


class Filler(Protocol):
    """What another Jupyter client's kernel is to have before the client has it: the sources of a notebook."""

    async def fill(self, order: Order, process: ManagedProcess, give: Callable[[int], None]) -> None:
        """Called once the kernel is ready, in the event loop of its client; it bounds its own time.

        `give`: hands the kernel an open file for its next request on control. Raises: OSError.

        Raises:
            KernelDied: the kernel is gone, or takes nothing.
        """


class Loader(Protocol):
    """A process that reads one context; what it is asked: `context/loader/client.py`."""

    control: socket.socket
    """The host's end of a socket of whole datagrams."""

    def close(self) -> None:
        """Called once or twice, in a worker thread: end it, and wait for its end."""


class Placement(Protocol):
    """Where a kernel's process comes from."""

    async def start(self, order: Order, command: Command) -> Started:
        """Called by the provisioner (`launch_kernel`) once for each kernel: start its process.

        May be cancelled at every await; then, and where it raises, it leaves no process.

        Raises:
            SandboxUnavailable, KernelStartFailed, OSError.
        """


class HostPlacement(Placement, Protocol):
    """Where our own host has its kernels; one for all kernels of a server, used by many starts at a time."""

    starts_max: int
    """Read once by `kernel/starter.py`: how many kernels are started at a time."""

    @property
    def named_within_s(self) -> float:
        """Read where a start is given up: how long `start` may go on before it is cancelled.

        A process that another program was asked for then becomes known, and can be ended.
        """

    async def take(self) -> Taken:
        """Called before each start, and before its directories are made: make sure that there is what a start needs.

        What may run out is taken now: without a descriptor left, directories could be made but not removed. It bounds
        its own time; a start's time (`Policy.start_timeout_ms`) begins afterwards.

        Raises:
            SandboxUnavailable, KernelStartFailed.
        """

    async def start(self, order: Order, command: Command) -> StartedKernel:
        """As `Placement.start`."""

    async def loader(self, file_mb: int, cpu_s: int, value_mb: int = 0) -> Loader | None:
        """Called for each context that is large or compressed: a process on this machine that reads it behind walls.

        Args:
            file_mb: largest file that it may write.
            cpu_s: processor time that it may use.
            value_mb: memory for the value of a JSON text, beside what it needs for files.

        Returns:
            None where there are none: such contexts are refused, or read by the host if they are not compressed.

        Raises:
            SandboxUnavailable, KernelStartFailed.
        """

    def fallback(self, why: SandboxUnavailable) -> tuple[HostPlacement, dict[str, Any]]:
        """Called where no kernel can be started here: the placement to take instead, and the row of `walls` for it.

        Raises:
            SandboxUnavailable: `why`, where there is none, or the user did not allow it.
        """

    def stop(self) -> None:
        """Called at the end of the server, when its sessions are closed, and before their starts are waited for.

        No kernel is started any more, and a start that is under way fails at once, whatever it is waiting for.
        """

    def close(self) -> None:
        """Called at the end of the server, when its kernels are gone: end what made them, remove what is left."""
