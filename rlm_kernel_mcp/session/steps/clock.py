"""The time that a step is charged for, and its limit: a clock that can be paused. Sans-I/O.

Is: arithmetic on moments that the caller reads, in monotonic nanoseconds. Is not: a look at a clock, nor a wait. What
is charged is the time outside the pauses and, within a pause, the processor time that the kernel used all the same.
Above: `run.py`. Below: nothing.
"""

from __future__ import annotations


class StepClock:
    """One step's clock. It runs from the moment at which it is made."""

    def __init__(self, now_ns: int, limit_ns: int) -> None:
        """`limit_ns`: the most that the step may be charged."""
        self._limit_ns = limit_ns
        self._charged_ns = 0
        """What was charged up to `_since_ns`, or, while it is paused, up to now."""
        self._since_ns: int | None = now_ns
        """Since when it has been running; None while it is paused."""
        self._forgiven_ns = 0
        """Of what has passed so much is not charged, and counts for the limit all the same."""

    def limit(self, limit_ns: int) -> None:
        """From now on this is the most that the step may be charged."""
        self._limit_ns = limit_ns

    @property
    def is_paused(self) -> bool:
        return self._since_ns is None

    def pause(self, now_ns: int) -> None:
        """Charge nothing from now on. A paused clock stays paused."""
        self._charged_ns = self._passed_ns(now_ns)
        self._since_ns = None

    def resume(self, now_ns: int, used_ns: int = 0) -> None:
        """Go on from now. `used_ns`: processor time that the kernel used in the pause. A running clock just runs on."""
        if self.is_paused:
            self._charged_ns += max(used_ns, 0)
            self._since_ns = now_ns

    def forgive(self, ns: int) -> None:
        """Do not charge so much of what has passed. The limit comes no later for it."""
        self._forgiven_ns += max(ns, 0)

    def elapsed_ns(self, now_ns: int) -> int:
        """What the step is charged by now."""
        return max(0, self._passed_ns(now_ns) - self._forgiven_ns)

    def _passed_ns(self, now_ns: int) -> int:
        running_ns = 0 if self._since_ns is None else max(now_ns - self._since_ns, 0)
        return self._charged_ns + running_ns

    def deadline_ns(self, now_ns: int) -> int:
        """The first moment at which the limit can be reached, in the past if it has been. A pause postpones it."""
        return now_ns + self._limit_ns - self._passed_ns(now_ns)
