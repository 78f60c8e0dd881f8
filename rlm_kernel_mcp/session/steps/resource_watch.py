"""Measures a kernel from outside while a step runs: memory, threads and processor time.

Is: the limits that rest neither on what a kernel says of itself, nor on a limit that it could lift or a signal that it
could ignore. Is not: the wall, which is the limits in the kernel; this acts before and after them. Above: `run.py`.
Below: `kernel/kernel.py`, `kernel/thread_count.py`.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Final

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.thread_count import end_for_its_threads
from rlm_kernel_mcp.policy import Limits
from rlm_kernel_mcp.units import MB

SAMPLE_S: Final = 0.05
HARD_SHARE: Final = 0.25
HARD_ROOM_MB: Final = 128
"""A kernel that passes its memory limit by this share and by this much, after a warning, is killed. The room is what
the kernel's own hard limit leaves over its soft one: with less, a small kernel would be killed between two samples
while it still raises its MemoryError, since much of its address space was there, untouched, before the step."""
CPU_AGAIN_MS: Final = 1_000
"""A step that goes on past its processor time is signalled again after this much more."""
CPU_TELLS: Final = 2
"""How often it is signalled before the ladder begins: the first signal may have hit a line that swallowed it."""


class ResourceWatch:
    """The watch over one step."""

    def __init__(self, kernel: Kernel, limits: Limits) -> None:
        self._kernel = kernel
        self._process = process = kernel.process
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._cpu_end_ms = 0
        self._cpu_told = 0
        self.exhausted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the step goes on past its processor time although it was signalled: the ladder is next."""
        self._soft_bytes = kernel.base_bytes + limits.memory_mb * MB
        self._hard_bytes = self._soft_bytes + max(int(limits.memory_mb * HARD_SHARE), HARD_ROOM_MB) * MB
        # Data of an earlier step may already lie above the soft limit: the step that frees it must be able to run.
        self._told = process.memory_bytes() > self._soft_bytes

    def begin_step(self) -> None:
        """Give the step its processor time. A limit inside the kernel would be the kernel's to ignore."""
        self._cpu_end_ms = self._process.cpu_ms() + self._limits.step_cpu_s * 1000

    def start(self) -> None:
        """Sample until `stop`. A kernel that passes a limit first gets a signal, which it turns into an error."""
        self._timer = asyncio.get_running_loop().call_later(SAMPLE_S, self._sample)

    def stop(self) -> None:
        """Sample no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sample(self) -> None:
        if end_for_its_threads(self._kernel, self._limits.threads):
            return
        taken = self._process.memory_bytes()
        # Checked before the warning: a kernel may pass both limits between two samples.
        if taken > self._hard_bytes:
            self._kernel.client.close(f"it passed its memory limit of {self._limits.memory_mb:,} MB and was killed")
            self._process.kill()
            return
        if taken > self._soft_bytes and not self._told:
            self._told = True
            # The handler of the kernel raises MemoryError in the step's code.
            self._process.send_signal(signal.SIGUSR1)
        self._sample_processor_time()
        self.start()

    def _sample_processor_time(self) -> None:
        used_ms = self._process.cpu_ms()
        if used_ms <= self._cpu_end_ms:
            return
        # Counted from now where this sample came late: the code gets its time to obey before it is signalled again.
        self._cpu_end_ms = max(self._cpu_end_ms, used_ms - 1) + CPU_AGAIN_MS
        if self._cpu_told < CPU_TELLS:
            self._cpu_told += 1
            # As RLIMIT_CPU would, but that counts a process's whole life and not a step.
            self._process.send_signal(signal.SIGXCPU)
        elif not self.exhausted.done():
            self.exhausted.set_result(None)
