"""What a kernel's messages may take of this process's processor time. Sans-I/O.

Is: the bound and its count. Is not: a clock: who measures gives the times. Above: `zmtp.py`, `session/asking/`.
Below: nothing.
"""

from __future__ import annotations

from typing import Final

TURN_S: Final = 0.005
"""Processor time of one turn of the event loop; after a longer one the connection rests for as long as it took by the
clock: on a busy machine that is longer, and so is what the others need."""

COST_S: Final = 10.0
COST_SHARE: Final = 0.05
"""What a peer's messages may take of this process's processor time between two grants, and the share of the time that
passes which is free beside it: a kernel whose messages cost more is ended, however few they are."""


class Cost:
    """One peer's."""

    def __init__(self, now_s: float) -> None:
        self._cost_s = 0.0
        self._at_s = now_s

    def grant(self) -> None:
        """From now on the peer may cost as much as one answer may take."""
        self._cost_s = 0.0

    def passes(self, used_s: float, now_s: float) -> bool:
        """Count what a turn took; whether that was too much. `now_s`: of the monotonic clock."""
        self._cost_s = max(0.0, self._cost_s - COST_SHARE * (now_s - self._at_s)) + used_s
        self._at_s = now_s
        return self._cost_s > COST_S
