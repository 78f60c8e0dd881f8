"""How much of a kernel's output a page is sent, and how much may wait for a page that does not read.

Is: bytes and messages that run full and come back with time, which is given. Is not: the sockets (`channels.py`).
Sans-I/O. Above: `channels.py`. Below: nothing.
"""

from __future__ import annotations

from typing import Final

BYTES: Final = 16 << 20
"""That may come at once, and in each second a quarter of it."""
MESSAGES: Final = 20_000
"""As above, and in each second a twentieth of them: a page takes about a millisecond for each."""
BYTES_A_S: Final = BYTES / 4
MESSAGES_A_S: Final = MESSAGES / 20
WAITING_BYTES_MAX: Final = 64 << 20
"""That wait for one page; past it its connection is closed, and the page connects anew."""


class Room:
    """Of one page and one kernel."""

    def __init__(self, now_s: float) -> None:
        self._bytes, self._messages, self._at_s = float(BYTES), float(MESSAGES), now_s
        self.left_out = 0
        """Messages since the last one that was sent."""

    def takes(self, size: int, now_s: float) -> bool:
        """Whether a message of so many bytes has room now; if not, it is counted as left out."""
        passed_s, self._at_s = max(0.0, now_s - self._at_s), now_s
        self._bytes = min(BYTES, self._bytes + passed_s * BYTES_A_S)
        self._messages = min(MESSAGES, self._messages + passed_s * MESSAGES_A_S)
        if size > self._bytes or self._messages < 1:
            self.left_out += 1
            return False
        self._bytes -= size
        self._messages -= 1
        return True

    def notice(self) -> str | None:
        """What the page is told of those that were left out, once there is room again."""
        count, self.left_out = self.left_out, 0
        return f"{count:,} messages of the kernel were left out here: more came than a page can take" if count else None
