"""The cold placement: a kernel is our own child, an interpreter with everything to import.

Is: the child, what it says on standard error before it is a kernel, and its end, as our own host sees it
(`KernelProcess`) and as any other Jupyter client does (`ClientsProcess`). Is not: a fork (`forked.py`), nor when our
host starts cold. Above: `forked.py`, `foreign_client.py`. Below: `base.py`, `local/`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement.base import Command, Order
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir
from rlm_kernel_mcp.kernel.placement.local.process import KernelProcess, describe_exit, wait_readable
from rlm_kernel_mcp.kernel.placement.local.started import Ends, LocalKernel, ends_of
from rlm_kernel_mcp.kernel.placement.local.startup_status import WITHOUT_A_WORD, StatusSocket, without_directories

REAP_S: Final = 2.0
START_ERRORS: Final = "start-errors"
LAST_BYTES: Final = 4_000

Child = subprocess.Popen[bytes]


class ColdPlacement:
    """`base.Placement` for our own host. It keeps nothing, so many starts can use it at a time."""

    async def start(self, order: Order, command: Command) -> LocalKernel:
        """Called by `forked.py`, where no fork server is available.

        Raises:
            SandboxUnavailable, KernelStartFailed.
        """
        ends = ends_of(order.taken)
        child, pid, pidfd = await start_cold(order, command, ends)
        return ends.kernel(_our_process(child, pid, pidfd, ends.status))


class ClientsProcess:
    """The kernel of another Jupyter client, as `base.ManagedProcess`.

    A client may start a kernel in one thread or event loop and end it in another: nothing here belongs to a loop.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int, pidfd: int, child: Child) -> None:
        """`pid`, `pidfd`: the kernel's; `child`: our own, which is the kernel or its monitor."""
        self.pid = pid
        self._pidfd = pidfd
        self._child = child

    @property
    def returncode(self) -> int | None:
        return self._child.returncode

    def poll(self) -> int | None:
        """As `Popen.poll`: the monitor ends as its kernel did, at once."""
        code = self._child.poll()
        if code is not None:
            self._forget()
        return code

    def wait(self, timeout: float | None = None) -> int:
        """As `Popen.wait`; a monitor that outlives its kernel is ended."""
        if self._pidfd >= 0:
            wait_ms = None if timeout is None else timeout * 1000
            # A pidfd is readable once the process has ended (pidfd_open(2)). No waitpid: the kernel may be our
            # grandchild.
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if not poll.poll(wait_ms):
                raise subprocess.TimeoutExpired(self._child.args, timeout or 0)
        try:
            self._child.wait(REAP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self._forget()
        return self._child.wait()

    async def ended(self) -> int:
        """The exit code, once the process has ended: an event, in whatever loop this is waited for."""
        if self._pidfd >= 0:
            await wait_readable(self._pidfd)
        return self.wait()

    def send_signal(self, signum: int) -> None:
        """Signal the kernel; nothing happens once it is gone."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):  # it ended between the check and the signal
                signal.pidfd_send_signal(self._pidfd, signum)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def _forget(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


async def start_cold(order: Order, command: Command, ends: Ends) -> tuple[Child, int, int]:
    """Start the child and wait until it has said who it is.

    Returns:
        The child, the kernel's pid and a pidfd of it.

    Raises:
        KernelStartFailed: it ended before, or cannot be started; nothing of it is left.
    """
    # A file, not a pipe: nobody has to read it, and it is there after the child has died.
    errors = (order.directories.path / START_ERRORS).open("wb")

    def spawn(passed: Sequence[int]) -> Child:
        return subprocess.Popen(
            [*command.program, *command.arguments, "--status-fd", str(passed[0]), "--descriptor-fd", str(passed[1])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors.fileno(),
            env=command.environment,
            cwd=command.cwd,
            pass_fds=passed,
            start_new_session=True,
        )

    with errors, _above_streams(ends.status.theirs, ends.theirs) as passed:
        try:
            child = _SPAWNER.run(lambda: spawn(passed))
        except OSError as error:
            raise KernelStartFailed(f"The kernel's program cannot be started: {error.strerror}.") from error
    ends.status.close_theirs()
    try:
        pid, pidfd = await ends.status.wait_pid()
    except BaseException as error:
        child.kill()
        with suppress(subprocess.TimeoutExpired):  # the system is holding it up; it ends when it can
            child.wait(REAP_S)
        code = child.returncode
        if code is not None and isinstance(error, KernelStartFailed) and error.message == WITHOUT_A_WORD:
            raise _without_a_word(code, order.directories) from error
        raise
    return child, pid, pidfd


@contextmanager
def _above_streams(*sockets: socket.socket) -> Iterator[list[int]]:
    """Copies with numbers above the standard streams': where one of those is closed, a socket may have its number."""
    with ExitStack() as copies:
        numbers = []
        for one in sockets:
            numbers.append(fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))
            copies.callback(os.close, numbers[-1])
        yield numbers


def _our_process(child: Child, pid: int, pidfd: int, status: StatusSocket) -> KernelProcess:
    """A child of our own host, in its event loop."""

    async def reap() -> int:
        ended = os.pidfd_open(child.pid)
        try:
            async with asyncio.timeout(REAP_S):
                await wait_readable(ended)
        except TimeoutError:
            child.kill()
        finally:
            os.close(ended)
            status.close()
        return child.wait()

    return KernelProcess(pid, pidfd, reap)


def _without_a_word(code: int, directories: KernelDir) -> KernelStartFailed:
    """What to say of a process that never became a kernel: how it ended, and its last line."""
    how = f"The kernel's process {describe_exit(code)} before it was ready"
    with (directories.path / START_ERRORS).open("rb") as errors:
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - LAST_BYTES))
        last = without_directories(errors.read(LAST_BYTES).decode("utf-8", "replace").strip().rpartition("\n")[2])
    return KernelStartFailed(f"{how}: {last}." if last else f"{how}.")


class _Spawner:
    """Makes children in a thread that lasts as long as this process.

    A kernel's parent-death signal comes when the *thread* ends that made it, and a client may start its kernels in one
    that ends long before the process does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked: queue.SimpleQueue[tuple[Callable[[], Child], Future[Child]]] = queue.SimpleQueue()

    def run(self, spawn: Callable[[], Child]) -> Child:
        made: Future[Child] = Future()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # another process: this one was forked
                self._asked = queue.SimpleQueue()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._asked,), name="rlm-spawner", daemon=True
                )
                self._thread.start()
            self._asked.put((spawn, made))
        return made.result()

    @staticmethod
    def _serve(asked: queue.SimpleQueue[tuple[Callable[[], Child], Future[Child]]]) -> None:
        while True:
            spawn, made = asked.get()
            try:
                made.set_result(spawn())
            except BaseException as error:
                made.set_exception(error)  # raised again where it is waited for
                if not isinstance(error, Exception):
                    raise
            del spawn, made


_SPAWNER: Final = _Spawner()
