"""Processor time that a kernel uses between steps.

Is: the count of what code goes on using after its step has ended, measured from outside. Is not: work that the kernel
does for us: while a value is read, as much as the reader waits is free, and no more; a snapshot is free if the kernel
completes it as it should. Above: `session_kernel.py`. Below: nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

FREE_MS: Final = 500
"""Processor time between two steps that does not count as the session's: a kernel's own threads wake now and then."""


class Measured(Protocol):
    """A process, as far as its processor time is concerned."""

    def cpu_ms(self) -> int:
        """Processor time used so far, in ms; 0 once it is gone."""


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class IdleTime:
    """The count for one kernel, from the end of its last step on."""

    def __init__(self, process: Measured, now_ms: Callable[[], int] = _now_ms, owed_ms: int = 0) -> None:
        """`owed_ms`: what the kernels before this one used and nobody has been charged for yet."""
        self._owed_ms = owed_ms
        self._seen_ms = 0
        """The last reading: once the process is gone there is no other."""
        self._process = process
        self._now_ms = now_ms
        self._readers = 0
        self._read_from_ms = (0, 0)
        """Clock and processor time when the current reads began, or when the count started again during them."""
        self._from_ms = process.cpu_ms()

    def charged(self) -> None:
        """Everything so far is charged: start counting again."""
        self._owed_ms = 0
        self.restart()

    def restart(self) -> None:
        """Start counting this kernel's time again: what it used up to now was for us."""
        self._seen_ms = 0
        self._from_ms = self._process.cpu_ms()
        self._read_from_ms = self._now_ms(), self._from_ms

    def used_ms(self, free_ms: int = 0) -> int:
        """Processor time since the count began, without what was used for readers; 0 as long as it is free.

        `free_ms`: what may turn out to have been for us.
        """
        cpu_ms = self._process.cpu_ms()
        if cpu_ms:  # 0: it is gone
            # While some of it may turn out to be free, what was seen before that time is not taken back.
            used_ms = max(0, cpu_ms - self._from_ms - self._for_readers_ms() - free_ms)
            self._seen_ms = max(used_ms, self._seen_ms) if free_ms else used_ms
        return self.seen_ms

    @property
    def seen_ms(self) -> int:
        """As `used_ms` last found it."""
        return self._owed_ms + (self._seen_ms if self._seen_ms > FREE_MS else 0)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Entered while somebody waits for the kernel's answer. Overlapping reads are one time of waiting."""
        if not self._readers:
            self._read_from_ms = self._now_ms(), self._process.cpu_ms()
        self._readers += 1
        try:
            yield
        finally:
            free_ms = self._for_readers_ms()
            self._readers -= 1
            if not self._readers:
                self._from_ms += free_ms

    def _for_readers_ms(self) -> int:
        """The processor time of the current reads: no more than the time in which they were waited for."""
        if not self._readers:
            return 0
        clock_ms, cpu_ms = self._read_from_ms
        return max(0, min(self._process.cpu_ms() - cpu_ms, self._now_ms() - clock_ms))
