"""Which snapshot the host has: a kernel sends what changed since that one, and everything if it is another.

Is: the numbers (tokens) by which snapshots are asked for, and the last one that is in the file or on its way there.
Is not: the file. Above: `taking.py`. Below: `kernel/`.
"""

from __future__ import annotations

from rlm_kernel_mcp.kernel.kernel import Kernel


class Confirmed:
    """The last snapshot of a session that the host has."""

    def __init__(self) -> None:
        self._token = 0
        self._had: tuple[Kernel, int] | None = None
        self._failed_token = 0

    def next_token(self) -> int:
        """A number for the next snapshot."""
        self._token += 1
        return self._token

    @property
    def token(self) -> int:
        """The number of the newest snapshot that was asked for."""
        return self._token

    def after(self, kernel: Kernel) -> int | None:
        """The number of the snapshot that the host has, if this kernel took it."""
        return self._had[1] if self._had is not None and self._had[0] is kernel else None

    def confirm(self, kernel: Kernel, token: int) -> None:
        """The host has this one now."""
        self._had = (kernel, token)

    def forget(self) -> None:
        """Nobody knows what the file holds: everything is sent again, and what was asked for so far is of no use."""
        self._had, self._failed_token = None, self._token

    def is_of_use(self, token: int) -> bool:
        """Whether a snapshot says what changed since one that is in the file."""
        return token > self._failed_token
