"""Starts kernels in containers, and makes sure that none is left.

Is: the hand-over of a kernel's sockets, and its process as the host sees it. Is not: what an engine is asked
(`arguments.py`). Above: `kernel/placement/contained.py`. Below: `runtime.py`,
`kernel/placement/local/`.

A container inherits no descriptor, so the kernel takes its ends of the status and the descriptor socket over a socket
in the mounted directory, on which the host serves exactly one connection, before any user code runs. The kernel answers
with a pidfd of its own, by which the host sees and signals it as it does any other kernel, where the system lets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement.container import arguments as container
from rlm_kernel_mcp.kernel.placement.container.arguments import ContainerRuntime, Mounts
from rlm_kernel_mcp.kernel.placement.container.runtime import END_S, SAID_CHARS, ask_engine
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir
from rlm_kernel_mcp.kernel.placement.local.process import EXIT_UNKNOWN, KernelProcess, wait_readable
from rlm_kernel_mcp.kernel.placement.local.startup_status import StatusSocket
from rlm_kernel_mcp.kernel_code import kernel_code
from rlm_kernel_mcp.policy import Limits
from rlm_kernel_mcp.shielded import shielded

log = logging.getLogger(__name__)
DEATH_S: Final = 1.0
"""How long after SIGKILL a kernel may live before its engine is asked: one in a paused container does not die of it."""
PATH_INSIDE: Final = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class KernelContainer:
    """The container of one kernel, before and while it runs."""

    runtime: ContainerRuntime
    run_dir: Path
    directories: KernelDir
    limits: Limits

    @property
    def name(self) -> str:
        """Unique: it is made of two random directory names, one of which is held by this server's lock."""
        return f"rlm-{self.run_dir.name}-{self.directories.path.name}"

    @property
    def _ends(self) -> Path:
        """Path of the socket over which the others are handed over."""
        return self.directories.sockets / "ends"

    async def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        status: StatusSocket,
        descriptors: socket.socket,
    ) -> KernelProcess:
        """Start the container and the kernel in it; `arguments` are the kernel's.

        Raises:
            SandboxUnavailable: the engine could not start it, or the container is not as asked for.
            KernelStartFailed: the kernel could not start.
        """
        self._open_to_the_container()
        mounts = Mounts(self.name, str(self.run_dir), str(self.directories.sockets), str(self.directories.scratch))
        environment = {**environment, "PATH": PATH_INSIDE}
        argv = container.run_argv(
            self.runtime,
            mounts,
            self.limits,
            environment,
            [*arguments, "--container", str(self._ends), "--code", kernel_code()],
        )
        complaints = self.directories.path / "engine.log"
        with complaints.open("wb") as log_file, _listening(self._ends) as listener:
            child, ended = _client(argv, log_file, self.directories.path)
            try:
                if not await self._hand_over(listener, ended, [status.theirs, descriptors]):
                    said = complaints.read_text(encoding="utf-8", errors="replace").strip()[-SAID_CHARS:]
                    log.error("%s could not start a container: %s", self.runtime.name, said)
                    raise container.run_failed(self.runtime, child.wait())
                status.close_theirs()
                _, pidfd = await status.wait_pid()
                pid = visible_pid(pidfd)
            except BaseException:
                await shielded(self._undo(child, ended, status), f"the end of container {self.name}")
                raise
        return ContainerProcess(pid, pidfd, self, lambda: self.reap(child, ended, status))

    def _open_to_the_container(self) -> None:
        """Let the container's user in: the directories above are this user's alone, so nobody else gets here."""
        # Sticky: the container's user makes its sockets here, and cannot remove what is ours.
        self.directories.sockets.chmod(0o1777)
        for path in (self.directories.connection_file, self.directories.policy_file):
            path.chmod(0o644)

    async def _hand_over(self, listener: socket.socket, ended: int, ends: Sequence[socket.socket]) -> bool:
        """Serve the one connection; false if the container ended first."""
        loop = asyncio.get_running_loop()
        connected = asyncio.ensure_future(loop.sock_accept(listener))
        gone = asyncio.ensure_future(wait_readable(ended))
        try:
            await asyncio.wait({connected, gone}, return_when=asyncio.FIRST_COMPLETED)
            # Both may be done: a client that handed over and died at once is noticed by the status socket.
            if not connected.done():  # the engine's client has ended, so nobody will connect
                return False
            with connected.result()[0] as channel:
                socket.send_fds(channel, [b"e"], [end.fileno() for end in ends])
            return True
        finally:
            connected.cancel()
            gone.cancel()

    async def _undo(self, child: subprocess.Popen[bytes], ended: int, status: StatusSocket) -> None:
        await self._end(child, ended)
        status.close()

    async def _end(self, child: subprocess.Popen[bytes], ended: int) -> int:
        """End the engine's client and the container, whatever state they are in; returns the client's exit status."""
        child.kill()
        await wait_readable(ended)
        os.close(ended)
        await self.remove()
        return child.wait()

    async def remove(self) -> bool:
        """End the container and remove it; false where the engine could not."""
        status, _ = await ask_engine(container.remove_argv(self.runtime.name, self.runtime.program, [self.name]))
        return status == 0

    async def reap(self, child: subprocess.Popen[bytes], ended: int, status: StatusSocket) -> int:
        """After the kernel's death: see the container gone; the exit code is its client's."""
        status.close()
        try:
            async with asyncio.timeout(END_S):
                await wait_readable(ended)
        except TimeoutError:
            outlived = True
        else:
            outlived = False
        if outlived:
            log.warning("container %s outlived its kernel by %.0f s", self.name, END_S)
            return await self._end(child, ended)
        os.close(ended)
        code = child.wait()
        if code < 0:  # its client was killed, so it may still be there
            await self.remove()
            return EXIT_UNKNOWN
        return code


class ContainerProcess(KernelProcess):
    """A kernel in a container. Where this user may not signal it, the engine does."""

    def __init__(self, pid: int, pidfd: int, place: KernelContainer, reap: Callable[[], Awaitable[int]]) -> None:
        super().__init__(pid, pidfd, reap)
        self._place = place
        self._asked: set[asyncio.Task[None]] = set()

    def send_signal(self, signum: int) -> None:
        """Signal the kernel; nothing happens once it is gone."""
        try:
            super().send_signal(signum)
        except PermissionError:
            self._ask(self._signal_by_engine(signum))
        else:
            if signum == signal.SIGKILL and not self.dead.done():
                self._ask(self._see_it_dead())

    def _ask(self, asking: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(asking)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _see_it_dead(self) -> None:
        await asyncio.wait({self.dead}, timeout=DEATH_S)
        if not self.dead.done():
            await self._signal_by_engine(signal.SIGKILL)

    async def _signal_by_engine(self, signum: int) -> None:
        if signum == signal.SIGKILL:
            if not await self._place.remove() and not self.dead.done():
                log.error("container %s cannot be removed; the end of the server tries again", self._place.name)
                self.dead.set_result(EXIT_UNKNOWN)  # nothing may wait for ever for an engine that does not answer
        else:
            runtime = self._place.runtime
            await ask_engine(
                container.signal_argv(runtime, self._place.name, signal.Signals(signum).name.removeprefix("SIG"))
            )


def visible_pid(pidfd: int) -> int:
    """The number of a pidfd's process as this process's pid namespace has it; closes the pidfd where there is none.

    Raises:
        KernelStartFailed: the process has ended.
        SandboxUnavailable: it cannot be seen from here, so nothing of what it uses could be measured.
    """
    # SCM_RIGHTS carries the process, not its number: inside the container that is another one.
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    pid = int(fields["Pid"])  # -1: it has ended; 0: it has no number in this pid namespace
    if pid > 0:
        return pid
    os.close(pidfd)
    if pid < 0:
        raise KernelStartFailed("The kernel's process ended before it was ready.")
    raise container.unseen()


def _client(argv: Sequence[str], complaints: IO[bytes], directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The engine's client, which lives as long as the container, and a pidfd of it.

    `directory`: where it works. podman's monitor leaves a file `oom` there when a container passes its memory.
    """
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=complaints,
        cwd=directory,
        start_new_session=True,
    )
    return child, os.pidfd_open(child.pid)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o666)  # the kernel is another user; the directories above keep everybody else out
        listener.listen(1)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
