"""Measures a kernel from outside: memory while a step runs, processor time by step and between steps.

Is: the limits that do not rest on what a kernel says of itself. Is not: the wall: the address-space limit in the
kernel is, and this acts before and after it. Above: `step.py`, `session.py`. Below: `kernel/process.py`.
"""

from __future__ import annotations

import asyncio
import resource
import signal
from typing import Final

from rlm_kernel_mcp.kernel.launch import Kernel
from rlm_kernel_mcp.policy import Limits

SAMPLE_S: Final = 0.05
HARD_SHARE: Final = 0.25
HARD_ROOM_MB: Final = 128
"""A kernel that passes its memory limit by this share and by this much, after it was told, is killed. The room is what
the kernel's own hard limit leaves over its soft one: with less, a small kernel would be killed between two samples
while it still raises its MemoryError, since much of its address space was there, untouched, before the step."""
CPU_AGAIN_MS: Final = 1_000
"""A step that goes on past its processor time is told again this often, as the limit itself would."""
MB: Final = 1 << 20


class ResourceWatch:
    """The watch over one step."""

    def __init__(self, kernel: Kernel, limits: Limits) -> None:
        self._kernel = kernel
        self._process = process = kernel.process
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._cpu_end_ms: int | None = None
        """Where the system does not let us move the kernel's own limit: the processor time that ends the step."""
        self._soft_bytes = kernel.base_bytes + limits.memory_mb * MB
        self._hard_bytes = self._soft_bytes + max(int(limits.memory_mb * HARD_SHARE), HARD_ROOM_MB) * MB
        # Data of an earlier step may already lie above the soft limit: the step that frees it must be able to run.
        self._told = process.resident_bytes() > self._soft_bytes

    def begin_step(self) -> None:
        """Give the step its processor time: the soft limit moves, the hard one cannot."""
        used_s = self._process.cpu_ms() // 1000 + 1
        try:
            hard = resource.prlimit(self._process.pid, resource.RLIMIT_CPU)[1]
            soft = used_s + self._limits.step_cpu_s
            if hard != resource.RLIM_INFINITY:
                soft = min(soft, hard)
            resource.prlimit(self._process.pid, resource.RLIMIT_CPU, (soft, hard))
        except ProcessLookupError:
            return  # it is gone; the execution says so
        except PermissionError:
            # Another user's, in a container: the watch sends what the limit would.
            self._cpu_end_ms = self._process.cpu_ms() + self._limits.step_cpu_s * 1000

    def start(self) -> None:
        """Sample until `stop`: first a signal that the kernel turns into MemoryError, then SIGKILL."""
        self._timer = asyncio.get_running_loop().call_later(SAMPLE_S, self._sample)

    def stop(self) -> None:
        """Sample no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sample(self) -> None:
        resident = self._process.resident_bytes()
        if resident > self._hard_bytes:
            self._kernel.client.close(f"it passed its memory limit of {self._limits.memory_mb:,} MB and was killed")
            self._process.kill()
            return
        if resident > self._soft_bytes and not self._told:
            self._told = True
            self._process.send_signal(signal.SIGUSR1)
        if self._cpu_end_ms is not None and self._process.cpu_ms() > self._cpu_end_ms:
            self._cpu_end_ms += CPU_AGAIN_MS
            self._process.send_signal(signal.SIGXCPU)
        self.start()
