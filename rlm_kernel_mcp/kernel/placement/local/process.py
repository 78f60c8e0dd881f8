"""A kernel's process, by pidfd: death is an event, a signal cannot reach a stranger.

Is: the part of `subprocess.Popen` that jupyter_client's provisioner uses, over a process that need not be our child
(the fork server's, or one behind a namespace's monitor). Above: the placements, `startup_status.py`. Below: asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

EXIT_UNKNOWN: Final = -255
OWN_MEMORY_KB: Final = re.compile(rb"^(?:RssAnon|RssShmem|VmPTE):\s+(\d+) kB$", re.MULTILINE)
NICENESS: Final = 10
"""Niceness of a kernel that gives way: it has a tenth of the weight of what runs beside it."""
LISTINGS: Final = 4
"""How often its threads are listed at most before the host goes on: the next look is 50 ms away."""


async def wait_readable(descriptor: int) -> None:
    """Wait until a descriptor can be read; a pidfd can once its process has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def on_readable() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, on_readable)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


class KernelProcess:
    """One kernel process. `returncode` is None while it lives."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, pidfd: int, reap: Callable[[], Awaitable[int]]) -> None:
        """`reap`: awaited once after the death; collects what is left of it and returns the exit code."""
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._reap = reap
        self._reaping: asyncio.Task[None] | None = None
        self._weight = -1
        self._gave_way = False
        self.dead: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(pidfd, self._on_death)

    def _on_death(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self.weigh_by(-1)
        self._reaping = asyncio.get_running_loop().create_task(self._collect(), name=f"end of kernel {self.pid}")

    async def _collect(self) -> None:
        self.returncode = await self._reap()
        if not self.dead.done():
            self.dead.set_result(self.returncode)

    def poll(self) -> int | None:
        """As `Popen.poll`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """As `Popen.wait` of a process that has ended: the provisioner awaits `dead` first."""
        del timeout
        return EXIT_UNKNOWN if self.returncode is None else self.returncode

    async def ended(self) -> int:
        """The exit code, once the process has ended: an event, nothing is polled."""
        # Several may wait for it, and the cancellation of one must not cancel the future.
        return await asyncio.shield(self.dead)

    def send_signal(self, signum: int) -> None:
        """Signal the kernel; nothing happens once it is gone."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):  # it ended between the check and the signal
                signal.pidfd_send_signal(self._pidfd, signum)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def weigh_by(self, weight: int) -> None:
        """Have `give_way` write to this file (`StatusSocket.take_weight`), which is closed when the process is gone."""
        kept = weight if self._pidfd >= 0 else -1
        for unused in {self._weight, weight} - {kept, -1}:
            os.close(unused)
        self._weight = kept

    def give_way(self) -> None:
        """Give the kernel less weight than the host and everybody else, for good, where processors are short.

        Both ways, since the system does not say which one counts: its session's weight where sessions are scheduled as
        groups (sched(7), autogroup), each thread's where they are not, or lie in a cgroup. Users other than root may
        weigh one session in 100 ms on the whole machine. Call it again as long as there is a reason.
        """
        if self._pidfd < 0:
            return
        if self._weight >= 0 and not self._gave_way:
            with contextlib.suppress(OSError):  # asked too often (EAGAIN), or the process has just ended
                os.write(self._weight, b"%d" % NICENESS)
                self._gave_way = True
        with contextlib.suppress(OSError):  # it has just ended
            signal.pidfd_send_signal(self._pidfd, 0)  # else the number may belong to another process by now
            self._weigh_threads()

    def _weigh_threads(self) -> None:
        """Weigh each thread; a new one has the weight of the one that starts it, which may not have had its turn."""
        weighed: set[str] = set()
        for _ in range(LISTINGS):
            found = set(os.listdir(f"/proc/{self.pid}/task")) - weighed  # noqa: PTH208  (names alone, 20 times a second)
            if not found:
                return
            for thread in found:
                with contextlib.suppress(OSError):  # one that has just ended leaves the others their turn
                    os.setpriority(os.PRIO_PROCESS, int(thread), NICENESS)
            weighed |= found

    def cpu_ms(self) -> int:
        """Processor time used so far over all threads, in ms, measured from outside; 0 once it is gone."""
        if self._pidfd < 0:
            return 0  # the number may belong to another process by now
        try:
            # The process's own clock, numbered as by clock_getcpuclockid(3): one call, where /proc takes fifty.
            return time.clock_gettime_ns(~self.pid << 3 | 2) // 1_000_000
        except OSError:
            return 0

    def memory_bytes(self) -> int:
        """Memory that is this process's own, measured from outside; 0 once it is gone.

        What it wrote or shares with no file, and its page tables, which no limit counts. Not the pages of files that it
        has mapped: the system takes those back as it needs to, and two kernels over one file have them once.
        """
        try:
            status = os.open(f"/proc/{self.pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            # One read: the file is made anew at each, so two reads could disagree.
            return sum(map(int, OWN_MEMORY_KB.findall(os.read(status, 8192)))) * 1024
        except OSError:  # it ended between the two
            return 0
        finally:
            os.close(status)

    def thread_count(self) -> int:
        """Threads, counted from outside; 0 once it is gone."""
        try:
            # A directory's links are itself, its parent and its directories: one call, however many there are.
            return os.stat(f"/proc/{self.pid}/task").st_nlink - 2  # noqa: PTH116  (a hundred times a second)
        except OSError:
            return 0


def describe_exit(code: int) -> str:
    """How a process ended, as the rest of a sentence that begins with its name."""
    if code == EXIT_UNKNOWN:
        return "ended, and it is not known how"
    if code < 0 and -code in set(signal.Signals):
        return f"was ended by {signal.Signals(-code).name}"
    # As shells and container engines report the death of their child.
    if code > 128 and code - 128 in set(signal.Signals):
        return f"was ended by {signal.Signals(code - 128).name}"
    return f"ended with exit status {code}"
